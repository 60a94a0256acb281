import { expect, it } from "vitest";
import type { ReviewTask } from "../api/types";
import { onlyVersion, phrasesOf, proposed, record, wholly } from "./choosing";

function pair(phrase: string, masks: number) {
  return {
    phrase,
    polarity: masks > 0 ? "positive" : "negative",
    hard_negative: masks === 0,
    confused_with: masks === 0 ? "boat" : null,
    exhaustive: masks > 0,
    masks: Array.from({ length: masks }, (_, index) => ({
      rle: { size: [4, 4], counts: `${masks}${index}` },
    })),
  };
}

const TASK = {
  versions: [
    { annotator: "a", pairs: [pair("boat", 2), pair("house", 1)] },
    { annotator: "b", pairs: [pair("boat", 3), pair("house", 0)] },
    { annotator: "c", pairs: [pair("boat", 3)] },
  ],
  agreement: {
    pairs: [
      { phrase: "boat", agreement: 0.8 },
      { phrase: "house", agreement: 0.1 },
    ],
    annotators: [
      { annotator: "a", agreement: 0.5 },
      { annotator: "b", agreement: 0.7 },
      { annotator: "c", agreement: 0.6 },
    ],
  },
} as unknown as ReviewTask;

it("shows first what the annotators agree on least", () => {
  expect(phrasesOf(TASK)).toEqual(["house", "boat"]);
});

it("proposes the version that agrees best with the others", () => {
  expect(proposed(TASK)).toEqual({ house: 1, boat: 1 });
  expect(onlyVersion(proposed(TASK))).toBe(1);
});

it("takes each phrase from its version, and leaves out what that version has not", () => {
  const mixed = record(TASK, { house: 0, boat: 2 });
  expect(mixed.map(({ phrase, masks, exhaustive }) => [phrase, masks?.length, exhaustive])).toEqual([
    ["house", 1, true],
    ["boat", 3, true],
  ]);
  expect(record(TASK, wholly(TASK, 2)).map(({ phrase }) => phrase)).toEqual(["boat"]);
});

it("sends a negative without masks", () => {
  expect(record(TASK, { house: 1, boat: 0 })[0]).toMatchObject({
    polarity: "negative",
    masks: [],
    exhaustive: false,
    confused_with: "boat",
  });
});
