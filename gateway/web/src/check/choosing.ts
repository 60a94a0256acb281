/** An adjudication as plain data: which annotator's version of each phrase is the one of record. */

import type { GoldVersion } from "../api/schema";
import type { DecidedPair, Pair, ReviewTask } from "../api/types";

/** By phrase: the place of the version, 0-based. A version without the phrase leaves it out. */
export type Choices = Readonly<Record<string, number>>;

export function versionsOf(task: ReviewTask): readonly GoldVersion[] {
  return task.versions ?? [];
}

/** All phrases of the versions, those on which they agree least first. */
export function phrasesOf(task: ReviewTask): string[] {
  const found = new Set(versionsOf(task).flatMap((version) => version.pairs.map((pair) => pair.phrase)));
  return [...found].sort(
    (first, second) =>
      (agreementOn(task, first) ?? 1) - (agreementOn(task, second) ?? 1) || first.localeCompare(second),
  );
}

export function agreementOn(task: ReviewTask, phrase: string): number | null {
  return task.agreement?.pairs.find((pair) => pair.phrase === phrase)?.agreement ?? null;
}

export function agreementOf(task: ReviewTask, version: GoldVersion): number | null {
  return task.agreement?.annotators.find((one) => one.annotator === version.annotator)?.agreement ?? null;
}

export function pairIn(version: GoldVersion | undefined, phrase: string): Pair | undefined {
  return version?.pairs.find((pair) => pair.phrase === phrase);
}

/** One version for all phrases. */
export function wholly(task: ReviewTask, version: number): Choices {
  return Object.fromEntries(phrasesOf(task).map((phrase) => [phrase, version]));
}

/** The version of the annotator who agrees best with the two others: a start, to be looked at. */
export function proposed(task: ReviewTask): Choices {
  const agreements = versionsOf(task).map((version) => agreementOf(task, version) ?? 0);
  return wholly(task, agreements.indexOf(Math.max(...agreements)));
}

/** The version that all phrases come from; null where they come from several. */
export function onlyVersion(choices: Choices): number | null {
  const used = [...new Set(Object.values(choices))];
  return used.length === 1 ? (used[0] ?? null) : null;
}

/** The version of record. */
export function record(task: ReviewTask, choices: Choices): DecidedPair[] {
  return phrasesOf(task).flatMap((phrase) => {
    const pair = pairIn(versionsOf(task)[choices[phrase] ?? 0], phrase);
    return pair ? [asDecided(pair)] : [];
  });
}

function asDecided(pair: Pair): DecidedPair {
  const positive = pair.polarity === "positive";
  return {
    phrase: pair.phrase,
    polarity: pair.polarity,
    hard_negative: !positive && pair.hard_negative,
    confused_with: positive ? null : pair.confused_with,
    exhaustive: positive && pair.exhaustive,
    masks: positive
      ? pair.masks.map(({ rle }) => ({ rle: { size: rle.size, counts: rle.counts }, box: null }))
      : [],
  };
}
