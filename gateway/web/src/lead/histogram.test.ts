import { expect, it } from "vitest";
import { around, binsOf, top } from "./histogram";

const EDGES = Array.from({ length: 21 }, (_, index) => index / 20);

function scores(at: Record<number, [number, number]>) {
  const count = (which: 0 | 1) => Array.from({ length: 20 }, (_, index) => at[index]?.[which] ?? 0);
  return { edges: EDGES, positive: count(0), negative: count(1) };
}

it("has a bin for each pair of edges", () => {
  const bins = binsOf(scores({ 19: [3, 4] }));
  expect(bins).toHaveLength(20);
  expect(bins[19]).toEqual({ from: 0.95, to: 1, positive: 3, negative: 4 });
});

it("ends the axis at a round number", () => {
  expect([0, 5, 7, 12, 46, 100, 101, 2300].map(top)).toEqual([5, 5, 10, 20, 50, 100, 200, 5000]);
});

it("counts what lies around the thresholds", () => {
  const bins = binsOf(scores({ 0: [2, 0], 15: [0, 3], 19: [10, 5] }));
  expect(around(bins, 0.7, 0.9)).toEqual([2, 3, 15]);
  expect(around(bins, 0.7, 0.98)).toEqual([2, 12, 6]);
});
