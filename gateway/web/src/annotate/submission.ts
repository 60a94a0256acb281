/** What the work on an image amounts to when it is submitted, or what has to be said first. */

import type { DecidedPair } from "../api/types";
import { decided, type Instance, kept, UNLABELLED, type Work, type WorkPair } from "../edit/work";

export type Submission =
  /** Drawn or corrected by the person, and of no phrase: it would be lost. */
  | { readonly standing: "unnamed"; readonly instance: Instance }
  /** Of a phrase, and without a mask. */
  | { readonly standing: "undrawn"; readonly instance: Instance; readonly phrase: string }
  /** Whether all instances are marked has not been said of these. */
  | { readonly standing: "unsaid"; readonly pairs: readonly WorkPair[] }
  | { readonly standing: "ready"; readonly kind: "edit" | "reject"; readonly pairs: readonly DecidedPair[] };

export function submission(work: Work): Submission {
  const unnamed = openRegions(work).find(({ rle, made }) => rle !== null && rle.counts !== made?.rle.counts);
  if (unnamed) return { standing: "unnamed", instance: unnamed };
  const positive = positives(work);
  for (const { phrase, instances } of positive) {
    const undrawn = instances.find((instance) => !instance.dropped && instance.rle === null);
    if (undrawn) return { standing: "undrawn", instance: undrawn, phrase };
  }
  const unsaid = positive.filter(({ complete }) => complete === null);
  if (unsaid.length > 0) return { standing: "unsaid", pairs: unsaid };
  const pairs = phrasesOf(work)
    .filter((pair) => pair.polarity === "negative" || kept(pair).length > 0)
    .map(decided);
  return { standing: "ready", kind: pairs.length > 0 ? "edit" : "reject", pairs };
}

/** The pairs that have a phrase. */
export function phrasesOf(work: Work): WorkPair[] {
  return work.pairs.filter((pair) => pair.key !== UNLABELLED);
}

/** The phrases of which something is in the image. */
export function positives(work: Work): WorkPair[] {
  return phrasesOf(work).filter(
    (pair) => pair.polarity === "positive" && pair.instances.some((instance) => !instance.dropped),
  );
}

/** Regions without a label that have not been dropped. */
export function openRegions(work: Work): Instance[] {
  const regions = work.pairs.find((pair) => pair.key === UNLABELLED)?.instances ?? [];
  return regions.filter((instance) => !instance.dropped);
}

/** The region to label after this one: the next without a label, or the first; none where all have one. */
export function following(work: Work, id: string): Instance | undefined {
  const regions = work.pairs.find((pair) => pair.key === UNLABELLED)?.instances ?? [];
  const at = regions.findIndex((instance) => instance.id === id);
  const open = regions.filter((instance) => !instance.dropped && instance.id !== id);
  return open.find((instance) => regions.indexOf(instance) > at) ?? open[0];
}
