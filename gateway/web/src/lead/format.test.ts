import { expect, it } from "vitest";
import { duration, money, percent, plural, rate } from "./format";

it("shows rates by three digits and what is unknown as a dash", () => {
  expect([0.456, 12.34, 123.4, 1234.5, null].map(rate)).toEqual(["0.46", "12.3", "123", "1,235", "–"]);
});

it("shows shares as per cent", () => {
  expect([0, 0.004, 0.081, 0.5, 1, null].map(percent)).toEqual([
    "0 %",
    "0.4 %",
    "8.1 %",
    "50 %",
    "100 %",
    "–",
  ]);
});

it("shows durations by their two largest units", () => {
  expect([0, 0.44, 12, 200, 3600, 7500, 90_000].map(duration)).toEqual([
    "0 s",
    "0.4 s",
    "12 s",
    "3 min 20 s",
    "1 h",
    "2 h 5 min",
    "1 d 1 h",
  ]);
});

it("counts in words", () => {
  expect([plural(1, "task"), plural(2000, "task")]).toEqual(["1 task", "2,000 tasks"]);
  expect(money(31.2, "USD")).toBe("$31.20");
});
