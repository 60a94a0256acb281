import { expect, it } from "vitest";
import type { Job } from "../api/types";
import { processed, remarksOf, sharesOf, told } from "./progress";

function job(what: Partial<Job>): Job {
  const given: Partial<Job> = {
    status: "running",
    images: 10,
    counts: {},
    refused: [],
    open_tasks: 0,
    rate: 0,
    eta_seconds: null,
  };
  return { ...given, ...what } as Job;
}

it("draws what is done, with people, under way and failed", () => {
  const counts = { submitted: 2, proposed: 1, segmented: 2, in_review: 1, complete: 3, failed: 1 };
  const found = job({ counts });
  expect(sharesOf(found).map(({ part, images, share }) => [part, images, share])).toEqual([
    ["complete", 3, 0.3],
    ["in_review", 1, 0.1],
    ["under_way", 3, 0.3],
    ["failed", 1, 0.1],
  ]);
  expect(processed(found)).toBe(5);
});

it("tells what has not begun in words", () => {
  expect(told(job({ counts: { submitted: 10 } }))).toBe("10 images: none begun");
});

it("says how fast and how long only while it runs", () => {
  const found = { rate: 2.5, eta_seconds: 160, open_tasks: 3 };
  expect(remarksOf(job(found))).toEqual(["3 open tasks", "2.5 images/s", "2 min 40 s left"]);
  expect(remarksOf(job({ ...found, status: "waiting_for_people" }))).toEqual(["3 open tasks"]);
});
