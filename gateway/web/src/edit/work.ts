/** What a person makes of a task: its pairs and their instances, as they will be sent. Immutable. */

import type { DecidedPair, Earlier, Mask, Pair, Polarity, ReviewTask } from "../api/types";
import type { Box, Rle } from "../masks/rle";

export interface Instance {
  readonly id: string;
  /** None yet where the instance has only been begun, or is a region that has a box only. */
  readonly rle: Rle | null;
  readonly box: Box | null;
  /** As a model or an earlier person made it; null for what was begun here. */
  readonly made: Mask | null;
  /** The person has taken it out; it is shown and can come back. */
  readonly dropped: boolean;
}

export interface WorkPair {
  readonly key: string;
  /** Empty: regions that have no label yet. */
  readonly phrase: string;
  readonly polarity: Polarity;
  readonly hardNegative: boolean;
  readonly confusedWith: string | null;
  /** Every instance is marked; null: not said. */
  readonly complete: boolean | null;
  readonly instances: readonly Instance[];
  /** The person added the phrase. */
  readonly added: boolean;
}

export interface Work {
  readonly pairs: readonly WorkPair[];
}

export const UNLABELLED = "unlabelled";
export const OWN = "own";

export function startReview(task: ReviewTask, earlier: Earlier | null): Work {
  const found = earlier?.pairs.length ? earlier.pairs : task.pair ? [task.pair] : [];
  const pairs = found.map((pair, index) => fromPair(pair, index === 0 ? OWN : `pair-${index}`, index > 0));
  const own = pairs[0];
  // What was dropped by the decision that is undone can come back as well.
  if (earlier && own && task.pair) {
    const there = new Set(own.instances.map((instance) => instance.rle?.counts));
    const gone = fromPair(task.pair, OWN, false).instances.filter(({ rle }) => !there.has(rle?.counts));
    const dropped = gone.map((instance) => ({ ...instance, id: `gone-${instance.id}`, dropped: true }));
    return { pairs: [{ ...own, instances: [...own.instances, ...dropped] }, ...pairs.slice(1)] };
  }
  return { pairs };
}

export function startAnnotate(task: ReviewTask, earlier: Earlier | null): Work {
  const pairs = (earlier?.pairs ?? []).map((pair, index) => ({
    ...fromPair(pair, `pair-${index}`, true),
    complete: pair.polarity === "positive" ? pair.exhaustive : null,
  }));
  const used = new Set(pairs.flatMap((pair) => pair.instances.map(({ rle }) => rle?.counts)));
  const regions = (task.regions ?? [])
    .map((region, index) => ({
      id: `region-${index}`,
      rle: region.mask?.rle ?? null,
      box: { x: region.box[0], y: region.box[1], width: region.box[2], height: region.box[3] },
      made: region.mask ?? null,
      dropped: false,
    }))
    .filter(({ rle }) => !rle || !used.has(rle.counts));
  return {
    pairs: [emptyPair(UNLABELLED, ""), ...pairs].map((p, i) => (i === 0 ? { ...p, instances: regions } : p)),
  };
}

export function emptyPair(key: string, phrase: string): WorkPair {
  return {
    key,
    phrase,
    polarity: "positive",
    hardNegative: false,
    confusedWith: null,
    complete: null,
    instances: [],
    added: true,
  };
}

function fromPair(pair: Pair, key: string, added: boolean): WorkPair {
  return {
    key,
    phrase: pair.phrase,
    polarity: pair.polarity,
    hardNegative: pair.hard_negative,
    confusedWith: pair.confused_with,
    complete: true,
    // What the segmenter wrongly masked of a negative is no instance; it shows what to look at.
    instances: pair.masks.map((mask, index) => ({
      id: `${key}-${index}`,
      rle: mask.rle,
      box: null,
      made: mask,
      dropped: pair.polarity === "negative",
    })),
    added,
  };
}

export function changePair(work: Work, key: string, what: Partial<WorkPair>): Work {
  return { pairs: work.pairs.map((pair) => (pair.key === key ? { ...pair, ...what } : pair)) };
}

export function changeInstance(work: Work, id: string, what: Partial<Instance>): Work {
  return {
    pairs: work.pairs.map((pair) =>
      pair.instances.some((instance) => instance.id === id)
        ? { ...pair, instances: pair.instances.map((each) => (each.id === id ? { ...each, ...what } : each)) }
        : pair,
    ),
  };
}

export function pairOf(work: Work, instanceId: string): WorkPair | undefined {
  return work.pairs.find((pair) => pair.instances.some((instance) => instance.id === instanceId));
}

export function instanceOf(work: Work, id: string | null): Instance | undefined {
  return work.pairs.flatMap((pair) => pair.instances).find((instance) => instance.id === id);
}

/** Takes the instance out; one that was only begun is gone, others can come back. */
export function without(work: Work, id: string): Work {
  const instance = instanceOf(work, id);
  if (instance?.made || instance?.box) return changeInstance(work, id, { dropped: true });
  return {
    pairs: work.pairs.map((pair) => ({
      ...pair,
      instances: pair.instances.filter((each) => each.id !== id),
    })),
  };
}

/** The instance moves to the pair of the phrase, which is made if need be. */
export function labelled(work: Work, id: string, phrase: string): Work {
  const instance = instanceOf(work, id);
  const text = phrase.trim();
  if (!instance || !text) return work;
  const target = work.pairs.find((pair) => pair.phrase === text && pair.key !== UNLABELLED);
  const key = target?.key ?? `pair-${crypto.randomUUID()}`;
  const pairs = target ? work.pairs : [...work.pairs, emptyPair(key, text)];
  return {
    pairs: pairs
      .map((pair) => ({ ...pair, instances: pair.instances.filter((each) => each.id !== id) }))
      .map((pair) =>
        pair.key === key
          ? {
              ...pair,
              polarity: "positive" as const,
              hardNegative: false,
              instances: [...pair.instances, instance],
            }
          : pair,
      )
      .filter((pair) => pair.key === UNLABELLED || pair.polarity === "negative" || pair.instances.length > 0),
  };
}

export function kept(pair: WorkPair): Instance[] {
  return pair.instances.filter((instance) => !instance.dropped && instance.rle !== null);
}

/** A pair as the gateway takes it. */
export function decided(pair: WorkPair): DecidedPair {
  const positive = pair.polarity === "positive";
  return {
    phrase: pair.phrase,
    polarity: pair.polarity,
    hard_negative: !positive && pair.hardNegative,
    confused_with: !positive ? pair.confusedWith : null,
    exhaustive: positive && pair.complete === true,
    masks: positive
      ? kept(pair).flatMap(({ rle }) =>
          rle
            ? [
                {
                  rle: { size: [rle.size[0], rle.size[1]] as [number, number], counts: rle.counts },
                  box: null,
                },
              ]
            : [],
        )
      : [],
  };
}

export interface Conclusion {
  readonly kind: "accept" | "reject" | "edit";
  readonly pairs: DecidedPair[];
}

/** What a review's work amounts to when it is submitted as it is. */
export function reviewed(task: ReviewTask, work: Work): Conclusion {
  const [own, ...added] = work.pairs;
  if (!own) return { kind: "reject", pairs: [] };
  const more = added.filter((pair) => pair.polarity === "negative" || kept(pair).length > 0).map(decided);
  const now = decided(own);
  if (now.polarity === "positive" && now.masks?.length === 0) {
    if (more.length === 0) return { kind: "reject", pairs: [] };
    // New phrases come with an edit only; a pair without any instance left is one whose phrase is absent.
    return { kind: "edit", pairs: [{ ...now, polarity: "negative", exhaustive: false }, ...more] };
  }
  if (more.length === 0 && sameAsTask(task, now)) return { kind: "accept", pairs: [] };
  return { kind: "edit", pairs: [now, ...more] };
}

function sameAsTask(task: ReviewTask, now: DecidedPair): boolean {
  const was = task.pair;
  if (!was || was.polarity !== now.polarity || was.phrase !== now.phrase) return false;
  if (now.polarity === "negative") return true;
  if (!now.exhaustive || was.masks.length !== now.masks?.length) return false;
  return was.masks.every((mask, index) => mask.rle.counts === now.masks?.[index]?.rle.counts);
}
