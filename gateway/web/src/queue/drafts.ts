/** What a person has drawn or typed for a task and not decided yet. */

import { forget, keep, kept } from "./durable";

export interface Draft<Work> {
  readonly work: Work;
  readonly seconds: number;
}

export async function draftOf<Work>(taskId: string): Promise<Draft<Work> | null> {
  return kept<Draft<Work>>(`draft.${taskId}`);
}

export async function keepDraft<Work>(taskId: string, draft: Draft<Work>): Promise<void> {
  await keep(`draft.${taskId}`, draft);
}

export async function dropDraft(taskId: string): Promise<void> {
  await forget(`draft.${taskId}`);
}

export async function hasDraft(taskId: string): Promise<boolean> {
  return (await kept(`draft.${taskId}`)) !== null;
}
