/** The geometry of the score histogram: plain numbers, drawn by `Histogram.tsx`. */

import type { ScoreHistogram } from "../api/schema";

export interface Bin {
  readonly from: number;
  readonly to: number;
  readonly positive: number;
  readonly negative: number;
}

export function binsOf(scores: ScoreHistogram): Bin[] {
  return scores.positive.map((positive, index) => ({
    from: scores.edges[index] ?? 0,
    to: scores.edges[index + 1] ?? 1,
    positive,
    negative: scores.negative[index] ?? 0,
  }));
}

/** A round number not below `value`: the top of the axis. 1, 2 or 5 times a power of ten. */
export function top(value: number): number {
  if (value <= 5) return 5;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= value) ?? value;
}

/**
 * How many pairs score below the first threshold, between the two, and above the second; a bin that a threshold cuts
 * is shared out by its parts' widths.
 */
export function around(bins: readonly Bin[], review: number, accept: number): [number, number, number] {
  const between = (from: number, to: number): number =>
    Math.round(
      bins.reduce((sum, bin) => {
        const common = Math.max(0, Math.min(to, bin.to) - Math.max(from, bin.from));
        return sum + ((bin.positive + bin.negative) * common) / (bin.to - bin.from);
      }, 0),
    );
  return [between(0, review), between(review, accept), between(accept, 1)];
}
