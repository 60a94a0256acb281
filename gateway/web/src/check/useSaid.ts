import { useCallback, useEffect, useState } from "react";
import type { Desk } from "../queue/desk";
import { forget, keep, kept } from "../queue/durable";
import { outbox } from "../queue/outbox";
import { complain } from "../ui/notices";
import { NOTHING, type Said } from "./marks";

// What was said of the tasks of this visit: an undone decision has it again.
const recent = new Map<string, Said>();

/** Marks and comment of a task; they outlive a reload. */
export function useSaid(taskId: string): [Said, (said: Said) => void] {
  const [said, setSaid] = useState<Said>(recent.get(taskId) ?? NOTHING);
  useEffect(() => {
    if (recent.has(taskId)) return;
    let current = true;
    void kept<Said>(placeOf(taskId)).then((found) => current && found && setSaid(found));
    return () => {
      current = false;
    };
  }, [taskId]);
  const say = useCallback(
    (next: Said) => {
      setSaid(next);
      recent.set(taskId, next);
      const anything = next.marks.length > 0 || next.comment !== "";
      const written = anything ? keep(placeOf(taskId), next) : forget(placeOf(taskId));
      written.catch((error: unknown) => complain(error, "This browser could not keep what you said:"));
    },
    [taskId],
  );
  return [said, say];
}

/** What was said is safe with the decision, and no longer kept here. */
export function useSaidOfSaved(desk: Desk): void {
  useEffect(
    () =>
      outbox.subscribe(({ outcomes }, { outcomes: before }) => {
        for (const { task } of desk.store.getState().items) {
          const saved = outcomes[task.id]?.standing === "saved" && before[task.id]?.standing !== "saved";
          if (saved) void forget(placeOf(task.id));
        }
      }),
    [desk],
  );
}

function placeOf(taskId: string): string {
  return `said.${taskId}`;
}
