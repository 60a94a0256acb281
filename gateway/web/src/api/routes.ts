/** The calls that the pages make, one function each. */

import type { Person } from "../app/session";
import type { Rle } from "../masks/rle";
import { answered, api } from "./client";
import type {
  DecisionRequest,
  Lease,
  LeasedTask,
  LeasedTaskList,
  Mask,
  Queues,
  Reopened,
  TaskType,
} from "./types";

export interface LeaseFilter {
  readonly types: readonly TaskType[];
  readonly jobId?: string | undefined;
  readonly phrase?: string | undefined;
}

export async function leaseTasks(filter: LeaseFilter, most: number): Promise<LeasedTask[]> {
  const body = {
    types: [...filter.types],
    job_id: filter.jobId || null,
    phrase: filter.phrase || null,
    max_tasks: most,
  };
  return (await answered<LeasedTaskList>(api.POST("/v1/reviews/lease", { body }))).items;
}

export function leaseTask(taskId: string): Promise<LeasedTask> {
  return answered(api.POST("/v1/reviews/{task_id}/lease", { params: { path: { task_id: taskId } } }));
}

export async function renewLease(taskId: string, leaseId: string): Promise<string> {
  const body = { lease_id: leaseId };
  const params = { path: { task_id: taskId } };
  return (await answered<Lease>(api.POST("/v1/reviews/{task_id}/renew", { params, body }))).expires_at;
}

export async function releaseTask(taskId: string, leaseId: string): Promise<void> {
  const body = { lease_id: leaseId };
  await answered(api.POST("/v1/reviews/{task_id}/release", { params: { path: { task_id: taskId } }, body }));
}

export async function skipTask(taskId: string, leaseId: string): Promise<void> {
  const body = { lease_id: leaseId };
  await answered(api.POST("/v1/reviews/{task_id}/skip", { params: { path: { task_id: taskId } }, body }));
}

export async function decide(taskId: string, body: DecisionRequest): Promise<void> {
  await answered(api.POST("/v1/reviews/{task_id}/decision", { params: { path: { task_id: taskId } }, body }));
}

export function undo(taskId: string, id: string, decisionId: string): Promise<Reopened> {
  const body = { id, decision_id: decisionId };
  return answered(api.POST("/v1/reviews/{task_id}/undo", { params: { path: { task_id: taskId } }, body }));
}

export function queues(): Promise<Queues> {
  return answered(api.GET("/v1/reviews/queues", {}));
}

export function me(): Promise<Person> {
  return untyped<Person>("GET", "/v1/me");
}

export interface Prompt {
  readonly boxes: readonly (readonly [number, number, number, number])[];
  readonly points: readonly { readonly x: number; readonly y: number; readonly positive: boolean }[];
  readonly mask: Rle | null;
}

export async function segment(imageId: string, prompt: Prompt, signal?: AbortSignal): Promise<Mask[]> {
  const found = await untyped<{ masks: Mask[] }>("POST", `/v1/images/${imageId}/segment`, prompt, signal);
  return found.masks;
}

export interface KnownPhrase {
  readonly phrase: string;
  readonly source: "used" | "ontology";
  readonly count: number;
}

export async function phrases(prefix: string, signal?: AbortSignal): Promise<KnownPhrase[]> {
  const query = new URLSearchParams({ prefix, limit: "12" });
  return (await untyped<{ items: KnownPhrase[] }>("GET", `/v1/phrases?${query}`, undefined, signal)).items;
}

export interface SuggestedNegative {
  readonly phrase: string;
  readonly confused_with: string | null;
  readonly reason: string;
}

export async function hardNegatives(
  imageId: string,
  present: readonly string[],
): Promise<SuggestedNegative[]> {
  const body = { phrases: present, limit: 10 };
  const path = `/v1/images/${imageId}/hard-negatives`;
  return (await untyped<{ items: SuggestedNegative[] }>("POST", path, body)).items;
}

type Untyped = (
  path: string,
  init: { body?: unknown; signal?: AbortSignal },
) => Promise<{ data?: unknown; error?: unknown; response: Response }>;

function untyped<T>(method: "GET" | "POST", path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const call = api[method] as unknown as Untyped;
  return answered(
    call(path, { ...(body === undefined ? {} : { body }), ...(signal ? { signal } : {}) }),
  ) as Promise<T>;
}
