/** How far a job is, as shares of its images. */

import type { Job } from "../api/types";
import { duration, plural, whole } from "./format";

export type Part = "complete" | "in_review" | "under_way" | "failed";

export interface Share {
  readonly part: Part;
  readonly images: number;
  /** Of all the job's images, 0..1. */
  readonly share: number;
}

export const PARTS: Record<Part, string> = {
  complete: "complete",
  in_review: "with people",
  under_way: "with the models",
  failed: "failed",
};

const UNDER_WAY = ["proposed", "segmented", "verified"] as const;

/** In the order in which they are drawn; parts without images are left out, and so is what has not begun. */
export function sharesOf(job: Job): Share[] {
  const { counts, images } = job;
  const found: [Part, number][] = [
    ["complete", counts.complete ?? 0],
    ["in_review", counts.in_review ?? 0],
    ["under_way", UNDER_WAY.reduce((sum, state) => sum + (counts[state] ?? 0), 0)],
    ["failed", counts.failed ?? 0],
  ];
  return found
    .filter(([, count]) => count > 0)
    .map(([part, count]) => ({ part, images: count, share: images > 0 ? count / images : 0 }));
}

/** Images that the models are through with. */
export function processed(job: Job): number {
  const { complete = 0, in_review = 0, failed = 0 } = job.counts;
  return complete + in_review + failed;
}

export function statusOf(job: Job): string {
  if (job.status === "running") return "Running";
  if (job.status === "waiting_for_people") return "Waiting for people";
  return job.status === "complete" ? "Complete" : "Cancelled";
}

/** What there is to say besides the status, most urgent first. */
export function remarksOf(job: Job): string[] {
  const remarks: string[] = [];
  const failed = job.counts.failed ?? 0;
  if (failed > 0) remarks.push(`${plural(failed, "image")} failed`);
  if (job.open_tasks > 0) remarks.push(`${plural(job.open_tasks, "open task")}`);
  if (job.status === "running" && job.rate > 0) remarks.push(`${job.rate.toFixed(1)} images/s`);
  if (job.status === "running" && job.eta_seconds !== null) remarks.push(`${duration(job.eta_seconds)} left`);
  if (job.refused.length > 0) remarks.push(`${plural(job.refused.length, "image")} refused`);
  return remarks;
}

/** For screen readers, and on hovering. */
export function told(job: Job): string {
  const shares = sharesOf(job).map(({ part, images }) => `${whole(images)} ${PARTS[part]}`);
  return `${plural(job.images, "image")}: ${shares.join(", ") || "none begun"}`;
}
