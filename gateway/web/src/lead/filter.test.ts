import { expect, it } from "vitest";
import { EVERYTHING, filterOf, isFiltered } from "./filter";

it("asks for everything unless something is given", () => {
  expect(filterOf(EVERYTHING)).toEqual({});
  expect(isFiltered({ ...EVERYTHING, phrase: "  " })).toBe(false);
});

it("asks for what is given, a score of 0 too", () => {
  const form = { ...EVERYTHING, phrase: " red boat ", verdict: "accept" as const, least: "0", most: "0.7" };
  expect(filterOf(form)).toEqual({ phrase: "red boat", verdict: "accept", minScore: 0, maxScore: 0.7 });
});

it("leaves out scores that are none", () => {
  expect(filterOf({ ...EVERYTHING, least: "abc", most: "1.5" })).toEqual({});
});
