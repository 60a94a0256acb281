import { expect, it } from "vitest";
import type { PartitionLag } from "../api/schema";
import { byTopic, stateOf } from "./lags";

function partition(what: Partial<PartitionLag>): PartitionLag {
  const given = { group: "g", topic: "images.submitted", partition: 0, records: 0, seconds: 0, members: 1 };
  return { ...given, stalled: false, ...what };
}

it("adds up partitions, and takes the oldest record's age", () => {
  const found = byTopic([
    partition({ records: 3, seconds: 2 }),
    partition({ partition: 1, records: 4, seconds: 9, stalled: true }),
  ]);
  expect(found).toHaveLength(1);
  expect(found[0]).toMatchObject({ records: 7, seconds: 9, members: 1, stalled: true });
  expect(found.map(stateOf)).toEqual(["stalled"]);
});

it("goes along an image's way, and shows dead letters only where there are any", () => {
  const found = byTopic([
    partition({ topic: "images.proposed.dlq", records: 2 }),
    partition({ topic: "images.submitted.dlq" }),
    partition({ topic: "review.completed" }),
    partition({ topic: "images.segmented", records: 1 }),
    partition({ topic: "jobs.events", members: 0 }),
  ]);
  expect(found.map((lag) => [lag.topic, stateOf(lag)])).toEqual([
    ["jobs.events", "nobody reads"],
    ["images.segmented", "behind"],
    ["review.completed", "up to date"],
    ["images.proposed.dlq", "given up"],
  ]);
});
