import { describe, expect, it } from "vitest";
import type { Mask, ReviewTask } from "../api/types";
import {
  changeInstance,
  changePair,
  emptyPair,
  labelled,
  OWN,
  reviewed,
  startAnnotate,
  startReview,
  without,
} from "./work";

function mask(counts: string): Mask {
  return {
    rle: { size: [4, 4], counts },
    box: [1, 1, 2, 2],
    area: 4,
    predicted_iou: 0.9,
    stability: 0.9,
    score: 0.8,
    verification: null,
    made_by: null,
  };
}

function task(polarity: "positive" | "negative" = "positive"): ReviewTask {
  const pair = {
    phrase: "red boat",
    polarity,
    hard_negative: polarity === "negative",
    confused_with: null,
    source: null,
    masks: [mask("52203"), mask("06")],
    presence: 0.9,
    exhaustivity: null,
    negative: null,
    score: 0.8,
    verdict: null,
    exhaustive: false,
    made_by: null,
  };
  return {
    pair,
    regions: [
      { box: [0, 0, 2, 2], mask: mask("04<") },
      { box: [1, 1, 2, 2], mask: null },
    ],
  } as never;
}

describe("a review submitted as it is", () => {
  it("accepts what was not changed", () => {
    expect(reviewed(task(), startReview(task(), null)).kind).toBe("accept");
    expect(reviewed(task("negative"), startReview(task("negative"), null)).kind).toBe("accept");
  });

  it("edits where a mask was taken out, and accepts where it came back", () => {
    const gone = without(startReview(task(), null), `${OWN}-0`);
    const edited = reviewed(task(), gone);
    expect(edited.kind).toBe("edit");
    expect(edited.pairs[0]?.masks?.map(({ rle }) => rle.counts)).toEqual(["06"]);
    expect(reviewed(task(), changeInstance(gone, `${OWN}-0`, { dropped: false })).kind).toBe("accept");
  });

  it("edits where instances are known to be missing", () => {
    const work = changePair(startReview(task(), null), OWN, { complete: false });
    expect(reviewed(task(), work)).toMatchObject({ kind: "edit", pairs: [{ exhaustive: false }] });
  });

  it("rejects where nothing is left", () => {
    const work = without(without(startReview(task(), null), `${OWN}-0`), `${OWN}-1`);
    expect(reviewed(task(), work)).toEqual({ kind: "reject", pairs: [] });
  });

  it("takes new phrases along that have an instance", () => {
    const start = startReview(task(), null);
    const instance = {
      id: "i",
      rle: { size: [4, 4] as const, counts: "52203" },
      box: null,
      made: null,
      dropped: false,
    };
    const work = {
      pairs: [...start.pairs, { ...emptyPair("n", "dog"), instances: [instance] }, emptyPair("m", "cat")],
    };
    expect(reviewed(task(), work).pairs.map(({ phrase }) => phrase)).toEqual(["red boat", "dog"]);
  });

  it("makes a negative that is marked a positive", () => {
    const start = startReview(task("negative"), null);
    const work = changeInstance(changePair(start, OWN, { polarity: "positive" }), `${OWN}-1`, {
      dropped: false,
    });
    expect(reviewed(task("negative"), work)).toMatchObject({
      kind: "edit",
      pairs: [{ polarity: "positive", hard_negative: false, masks: [{ rle: { counts: "06" } }] }],
    });
  });
});

describe("labels", () => {
  it("gather the instances of a phrase, and a pair without any goes", () => {
    const start = startAnnotate(task(), null);
    const one = labelled(start, "region-0", " red boat ");
    const two = labelled(one, "region-1", "red boat");
    expect(two.pairs.map((pair) => [pair.phrase, pair.instances.length])).toEqual([
      ["", 0],
      ["red boat", 2],
    ]);
    const moved = labelled(labelled(two, "region-0", "dog"), "region-1", "dog");
    expect(moved.pairs.map((pair) => pair.phrase)).toEqual(["", "dog"]);
  });
});
