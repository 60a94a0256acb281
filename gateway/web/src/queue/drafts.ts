/** What a person has drawn, said or chosen for a task: kept in this browser until its decision is saved. */

import { forget, keep, kept } from "./durable";

/** Drawn in the editor; said or written beside it; chosen among versions. */
export type Part = "draft" | "said" | "word" | "choices";

const PARTS: readonly Part[] = ["draft", "said", "word", "choices"];

export async function draftOf<Content>(part: Part, taskId: string): Promise<Content | null> {
  return kept<Content>(`${part}.${taskId}`);
}

export async function keepDraft(part: Part, taskId: string, content: unknown): Promise<void> {
  await keep(`${part}.${taskId}`, content);
}

export async function dropDraft(part: Part, taskId: string): Promise<void> {
  await forget(`${part}.${taskId}`);
}

export async function dropDrafts(taskId: string): Promise<void> {
  await Promise.all(PARTS.map((part) => dropDraft(part, taskId)));
}

export async function hasDraft(taskId: string): Promise<boolean> {
  const found = await Promise.all(PARTS.map((part) => draftOf(part, taskId)));
  return found.some((content) => content !== null);
}
