import type { Polarity, ReviewTask, Sibling } from "../api/types";
import type { Work } from "../edit/work";
import type { Held } from "../queue/desk";

/** One phrase of the image, as the list shows it. */
export interface PhraseRow {
  readonly phrase: string;
  readonly polarity: Polarity;
  readonly score: number | null;
  readonly verdict: Sibling["verdict"];
  /** A pair of the task that is shown. */
  readonly pairKey: string | null;
  /** Another task of ours. */
  readonly taskId: string | null;
  readonly decided: string | null;
}

/** The task's own pairs first, then the image's other phrases by score. */
export function phraseRows(task: ReviewTask, work: Work, items: readonly Held[]): PhraseRow[] {
  const own = work.pairs.map((pair, index) => ({
    phrase: pair.phrase,
    polarity: pair.polarity,
    score: index === 0 ? (task.pair?.score ?? null) : null,
    verdict: index === 0 ? (task.pair?.verdict ?? null) : null,
    pairKey: pair.key,
    taskId: task.id,
    decided: items.find((held) => held.task.id === task.id)?.decided?.kind ?? null,
  }));
  const ours = new Map(
    items
      .filter((held) => held.task.image.id === task.image.id && held.task.job_id === task.job_id)
      .map((held) => [held.task.pair?.phrase ?? "", held]),
  );
  const others = new Map((task.siblings ?? []).map((sibling) => [sibling.phrase, sibling]));
  for (const held of ours.values()) {
    const { pair } = held.task;
    if (pair && !others.has(pair.phrase)) others.set(pair.phrase, pair);
  }
  const rest = [...others.values()]
    .filter((sibling) => sibling.phrase !== task.pair?.phrase)
    .sort((a, b) => a.polarity.localeCompare(b.polarity) * -1 || b.score - a.score)
    .map((sibling) => {
      const held = ours.get(sibling.phrase);
      return {
        phrase: sibling.phrase,
        polarity: sibling.polarity,
        score: sibling.score,
        verdict: sibling.verdict ?? null,
        pairKey: null,
        taskId: held?.task.id ?? null,
        decided: held?.decided?.kind ?? null,
      };
    });
  return [...own, ...rest];
}
