/** Figures as people read them. */

const NONE = "–";

/** 1234567 -> 1,234,567 */
export function whole(value: number): string {
  return Math.round(value).toLocaleString("en");
}

/** Three significant digits are enough to compare rates by: 1.23, 12.3, 123, 1,230. */
export function rate(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0";
  if (value >= 100) return whole(value);
  return value.toFixed(value >= 10 ? 1 : 2);
}

export function percent(share: number | null | undefined): string {
  if (share === null || share === undefined) return NONE;
  const value = share * 100;
  return `${value > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} %`;
}

export function money(value: number | null | undefined, currency: string): string {
  if (value === null || value === undefined) return NONE;
  return value.toLocaleString("en", { style: "currency", currency });
}

/** 0.4 s, 12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h */
export function duration(seconds: number): string {
  if (seconds < 10) return `${Number(seconds.toFixed(1))} s`;
  const all = Math.round(seconds);
  if (all < 60) return `${all} s`;
  if (all < 3600) return joined(Math.floor(all / 60), "min", all % 60, "s");
  if (all < 86_400) return joined(Math.floor(all / 3600), "h", Math.round((all % 3600) / 60), "min");
  return joined(Math.floor(all / 86_400), "d", Math.round((all % 86_400) / 3600), "h");
}

function joined(large: number, unit: string, small: number, part: string): string {
  return small > 0 ? `${large} ${unit} ${small} ${part}` : `${large} ${unit}`;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${whole(count)} ${count === 1 ? one : many}`;
}

const STAGES: Record<string, string> = {
  assisted_manual: "Stage 1, assisted manual",
  semi_automatic: "Stage 2, semi-automatic",
  automatic: "Stage 3, automatic",
};

export function stageName(stage: string): string {
  return STAGES[stage] ?? stage;
}

/** "Stage 2" */
export function stageShort(stage: string): string {
  return stageName(stage).split(",")[0] ?? stage;
}
