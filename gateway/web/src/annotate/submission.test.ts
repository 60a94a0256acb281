import { describe, expect, it } from "vitest";
import type { ReviewTask } from "../api/types";
import {
  changeInstance,
  changePair,
  emptyPair,
  labelled,
  startAnnotate,
  UNLABELLED,
  type Work,
} from "../edit/work";
import { annotateFigures } from "./figures";
import { following, openRegions, positives, submission } from "./submission";

const SIZE = [4, 4] as [number, number];

function region(counts: string | null) {
  return { box: [0, 0, 2, 2], mask: counts === null ? null : { rle: { size: SIZE, counts } } };
}

/** Two proposals with a mask, and one that is a box only. */
function start(earlier: unknown = null): Work {
  const task = { regions: [region("04<"), region("52203"), region(null)] } as unknown as ReviewTask;
  return startAnnotate(task, earlier as never);
}

function complete(work: Work, phrase: string, value = true): Work {
  const pair = work.pairs.find((each) => each.phrase === phrase);
  return changePair(work, pair?.key ?? "", { complete: value });
}

function drawn(work: Work, key: string): Work {
  const pair = work.pairs.find((each) => each.key === key);
  const instance = { id: "new", rle: { size: SIZE, counts: "06:" }, box: null, made: null, dropped: false };
  return changePair(work, key, { instances: [...(pair?.instances ?? []), instance] });
}

describe("an image that is submitted", () => {
  it("has nothing to annotate where no region has a label", () => {
    expect(submission(start())).toEqual({ standing: "ready", kind: "reject", pairs: [] });
  });

  it("is asked about every phrase until it is said of all", () => {
    const work = labelled(labelled(start(), "region-0", "dog"), "region-1", "cat");
    expect(submission(work)).toMatchObject({
      standing: "unsaid",
      pairs: [{ phrase: "dog" }, { phrase: "cat" }],
    });
    const half = complete(work, "dog");
    expect(submission(half)).toMatchObject({ standing: "unsaid", pairs: [{ phrase: "cat" }] });
    expect(submission(complete(half, "cat", false))).toMatchObject({
      standing: "ready",
      kind: "edit",
      pairs: [
        { phrase: "dog", exhaustive: true, masks: [{ rle: { counts: "04<" } }] },
        { phrase: "cat", exhaustive: false, masks: [{ rle: { counts: "52203" } }] },
      ],
    });
  });

  it("does not lose what was drawn and has no label", () => {
    expect(submission(drawn(start(), UNLABELLED))).toMatchObject({
      standing: "unnamed",
      instance: { id: "new" },
    });
    const corrected = changeInstance(start(), "region-1", { rle: { size: SIZE, counts: "06:" } });
    expect(submission(corrected)).toMatchObject({ standing: "unnamed", instance: { id: "region-1" } });
    expect(submission(changeInstance(corrected, "region-1", { dropped: true })).standing).toBe("ready");
  });

  it("wants a mask for every object of a phrase", () => {
    const work = labelled(start(), "region-2", "dog");
    expect(submission(work)).toMatchObject({
      standing: "undrawn",
      phrase: "dog",
      instance: { id: "region-2" },
    });
  });

  it("holds confirmed negatives, and no phrase whose objects are all dropped", () => {
    const absent = { ...emptyPair("n", "red boat"), polarity: "negative" as const, hardNegative: true };
    const work = changeInstance(labelled(start(), "region-0", "dog"), "region-0", { dropped: true });
    expect(positives(work)).toEqual([]);
    expect(submission({ pairs: [...work.pairs, { ...absent, confusedWith: "blue boat" }] })).toEqual({
      standing: "ready",
      kind: "edit",
      pairs: [
        {
          phrase: "red boat",
          polarity: "negative",
          hard_negative: true,
          confused_with: "blue boat",
          exhaustive: false,
          masks: [],
        },
      ],
    });
  });
});

describe("regions", () => {
  it("are labelled one after the other, round to those passed over", () => {
    const work = start();
    expect(following(work, "region-0")?.id).toBe("region-1");
    expect(following(work, "region-2")?.id).toBe("region-0");
    const rest = changeInstance(labelled(work, "region-1", "dog"), "region-0", { dropped: true });
    expect(openRegions(rest).map(({ id }) => id)).toEqual(["region-2"]);
    expect(following(rest, "region-2")).toBeUndefined();
  });

  it("without a label are boxes; the chosen one and those with a label are masks in their phrase's colour", () => {
    const work = labelled(labelled(start(), "region-0", "dog"), "region-1", "cat");
    const again = labelled(work, "region-2", "dog");
    const { figures, order } = annotateFigures(work, "region-2");
    expect(order.map(({ id }) => id)).toEqual(["region-2", "region-0", "region-1"]);
    expect(figures.map(({ id, rle }) => [id, rle?.counts])).toEqual([
      ["region-0", "04<"],
      ["region-1", "52203"],
      ["region-2", undefined],
    ]);
    const [dog, , other] = annotateFigures(again, null).figures.sort((a, b) => a.id.localeCompare(b.id));
    expect(dog?.colour).toBe(other?.colour);
    expect(annotateFigures(start(), null).figures.map(({ rle, box }) => [rle, box?.width])).toEqual([
      [null, expect.any(Number)],
      [null, expect.any(Number)],
      [null, 2],
    ]);
  });

  it("come back after an undo with what had been said of them", () => {
    const pair = {
      phrase: "dog",
      polarity: "positive",
      hard_negative: false,
      confused_with: null,
      exhaustive: false,
      masks: [{ rle: { size: SIZE, counts: "04<" } }],
    };
    const work = start({
      kind: "edit",
      pairs: [pair, { ...pair, phrase: "cat", exhaustive: true, masks: [] }],
    });
    expect(openRegions(work).map(({ id }) => id)).toEqual(["region-1", "region-2"]);
    expect(work.pairs.map(({ phrase, complete: said }) => [phrase, said])).toEqual([
      ["", null],
      ["dog", false],
      ["cat", true],
    ]);
    expect(submission(work)).toMatchObject({ kind: "edit", pairs: [{ phrase: "dog", exhaustive: false }] });
  });
});
