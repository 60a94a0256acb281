import { expect, it } from "vitest";
import type { ReviewTask } from "../api/types";
import { startReview, without } from "../edit/work";
import { checked, commentOf, markAt, NOTHING } from "./marks";

const COUNTS = ["04<", "44<"];

function task(): ReviewTask {
  return {
    image: { id: "i", name: "a.png", width: 4, height: 4 },
    pair: {
      phrase: "red boat",
      polarity: "positive",
      hard_negative: false,
      confused_with: null,
      masks: COUNTS.map((counts) => ({ rle: { size: [4, 4], counts } })),
    },
  } as unknown as ReviewTask;
}

it("accepts what is right and complete", () => {
  expect(checked(task(), startReview(task(), null), NOTHING)).toEqual({ kind: "accept", pairs: [] });
});

it("edits a pair of which an instance is missing, and no longer calls it complete", () => {
  const said = { marks: [{ x: 1.4, y: 2.6 }], comment: " behind the mast " };
  const { kind, pairs } = checked(task(), startReview(task(), null), said);
  expect(kind).toBe("edit");
  expect(pairs.map((pair) => [pair.phrase, pair.exhaustive, pair.masks?.length])).toEqual([
    ["red boat", false, 2],
  ]);
  expect(commentOf(said)).toBe("Missing at (1, 3). behind the mast");
});

it("rejects a pair whose masks are all wrong while others are missing", () => {
  const work = startReview(task(), null);
  const bare = (work.pairs[0]?.instances ?? []).reduce((before, { id }) => without(before, id), work);
  expect(checked(task(), bare, { marks: [{ x: 1, y: 1 }], comment: "" }).kind).toBe("reject");
});

it("finds the mark that is meant", () => {
  const marks = [
    { x: 10, y: 10 },
    { x: 50, y: 50 },
  ];
  expect(markAt(marks, { x: 52, y: 49 }, 5)).toBe(1);
  expect(markAt(marks, { x: 30, y: 30 }, 5)).toBe(-1);
  expect(commentOf(NOTHING)).toBe("");
});
