import { useKeys } from "../keys/useKeys";
import { inform } from "../ui/notices";
import type { Desk, Held } from "./desk";

interface Own {
  submit(): unknown;
  /** One step out; false where there is none. */
  leave(): unknown;
  /** Takes back a step of the work on the task; false where there is none. */
  undo?(): boolean;
  redo?(): unknown;
  /** Of a task whose decision was taken back. */
  nameOf(held: Held): string;
  onDigit?(index: number): void;
}

/** The keys that all pages of tasks have. Returns undo: of a step of the work, else of the last decision. */
export function useTaskKeys(desk: Desk, held: Held, own: Own): () => Promise<void> {
  const undo = async (): Promise<void> => {
    if (!held.decided && own.undo?.()) return;
    const back = await desk.undo();
    if (back) inform(`Taken back: ${own.nameOf(back)} is open again.`);
    else if (!desk.store.getState().undoing) inform("There is nothing to undo.");
  };
  useKeys(
    "everywhere",
    {
      next: () => desk.step(1) || inform("This is the last of your tasks."),
      previous: () => desk.step(-1) || inform("This is the first of your tasks."),
      undo,
      redo: own.redo,
      submit: own.submit,
      skip: () => !held.decided && void desk.skip(held),
      leave: own.leave,
    },
    own.onDigit ? { onDigit: own.onDigit } : {},
  );
  return undo;
}

/** Whether the task can be decided; where it has gone to others, the person is told. */
export function decidable(held: Held): boolean {
  if (held.decided) return false;
  if (held.lost !== null) inform("This task is no longer yours. Take it back first.");
  return held.lost === null;
}
