import { useCallback, useEffect, useState } from "react";
import { complain } from "../ui/notices";
import { draftOf, dropDraft, keepDraft, type Part } from "./drafts";

// Of the tasks of this visit: an undone decision has it again.
const recent = new Map<string, unknown>();

/**
 * A value that a person makes of a task beside what is drawn: it outlives a reload, and is there again when the
 * decision is undone. It begins as `start`; the same value again is nothing to keep.
 */
export function useTaskDraft<T>(part: Part, taskId: string, start: T): [T, (next: T) => void] {
  const place = `${part}.${taskId}`;
  const [value, setValue] = useState<T>(() => (recent.get(place) as T | undefined) ?? start);
  useEffect(() => {
    if (recent.has(place)) return;
    let current = true;
    void draftOf<T>(part, taskId).then((found) => current && found !== null && setValue(found));
    return () => {
      current = false;
    };
  }, [part, taskId, place]);
  const put = useCallback(
    (next: T) => {
      setValue(next);
      recent.set(place, next);
      const same = JSON.stringify(next) === JSON.stringify(start);
      const written = same ? dropDraft(part, taskId) : keepDraft(part, taskId, next);
      written.catch((error: unknown) => complain(error, "This browser could not keep what you said:"));
    },
    [part, taskId, place, start],
  );
  return [value, put];
}
