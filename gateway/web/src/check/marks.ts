/** What a person says beside the verdict: where an instance is missing, and a word for the next person. Pure. */

import type { DecidedPair, ReviewTask } from "../api/types";
import { type Conclusion, changePair, decided, kept, reviewed, type Work } from "../edit/work";
import type { Point } from "../masks/bitmap";

export interface Said {
  /** Where something is missing that nobody has drawn yet, in pixels of the image. */
  readonly marks: readonly Point[];
  readonly comment: string;
}

export const NOTHING: Said = { marks: [], comment: "" };

const MOST_CHARACTERS = 2000;

/** The comment that is sent: the places first, for they are what the next person looks for. */
export function commentOf({ marks, comment }: Said): string {
  const places = marks.map(({ x, y }) => `(${Math.round(x)}, ${Math.round(y)})`).join(", ");
  return [places ? `Missing at ${places}.` : "", comment.trim()]
    .filter(Boolean)
    .join(" ")
    .slice(0, MOST_CHARACTERS);
}

/** What the work amounts to. With a mark left the pair is not complete, whatever was drawn. */
export function checked(task: ReviewTask, work: Work, said: Said): Conclusion {
  const own = work.pairs[0];
  if (said.marks.length === 0 || !own) return reviewed(task, work);
  if (kept(own).length === 0) return { kind: "reject", pairs: [] };
  const incomplete = changePair(work, own.key, { complete: false, polarity: "positive" });
  const pairs: DecidedPair[] = incomplete.pairs.map(decided);
  return { kind: "edit", pairs };
}

/** The mark at the place, if one is near enough to be meant. */
export function markAt(marks: readonly Point[], at: Point, within: number): number {
  return marks.findIndex((mark) => Math.hypot(mark.x - at.x, mark.y - at.y) <= within);
}
