/** How far the services are behind, one line for each topic and group. */

import type { PartitionLag } from "../api/schema";

export interface TopicLag {
  readonly topic: string;
  readonly group: string;
  readonly records: number;
  /** Age of the oldest unread record of any partition. */
  readonly seconds: number;
  readonly members: number;
  readonly stalled: boolean;
  /** Records that were given up. */
  readonly dead: boolean;
}

const DEAD = ".dlq";

/** Topics in the order of an image's way; dead-letter topics last, and only where something lies there. */
const ORDER = [
  "jobs.events",
  "images.submitted",
  "images.proposed",
  "images.segmented",
  "images.verified",
  "review.requested",
  "review.completed",
  "annotations.accepted",
  "models.promoted",
];

export function byTopic(partitions: readonly PartitionLag[]): TopicLag[] {
  const found = new Map<string, TopicLag>();
  for (const one of partitions) {
    const name = `${one.topic} ${one.group}`;
    const before = found.get(name);
    found.set(name, {
      topic: one.topic,
      group: one.group,
      records: one.records + (before?.records ?? 0),
      seconds: Math.max(one.seconds, before?.seconds ?? 0),
      members: Math.max(one.members, before?.members ?? 0),
      stalled: one.stalled || (before?.stalled ?? false),
      dead: one.topic.endsWith(DEAD),
    });
  }
  return [...found.values()]
    .filter((one) => !one.dead || one.records > 0)
    .sort(
      (first, second) =>
        Number(first.dead) - Number(second.dead) ||
        placeOf(first.topic) - placeOf(second.topic) ||
        first.topic.localeCompare(second.topic) ||
        first.group.localeCompare(second.group),
    );
}

function placeOf(topic: string): number {
  const at = ORDER.indexOf(topic.replace(DEAD, ""));
  return at < 0 ? ORDER.length : at;
}

/** In words, for no colour tells it alone. */
export function stateOf(lag: TopicLag): string {
  if (lag.dead) return "given up";
  if (lag.stalled) return "stalled";
  if (lag.members === 0) return "nobody reads";
  return lag.records > 0 ? "behind" : "up to date";
}
