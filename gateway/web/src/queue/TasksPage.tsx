import { Fragment, type ReactNode, useCallback, useMemo, useState } from "react";
import { useStore } from "zustand";
import type { LeaseFilter } from "../api/routes";
import type { TaskType } from "../api/types";
import { aheadOf, type Desk, type Held } from "./desk";
import { dropDrafts } from "./drafts";
import { useDesk, useOnSaved } from "./useDesk";

/** A person's tasks of some types, and the choice among them. */
export interface Tasks {
  readonly desk: Desk;
  readonly types: readonly TaskType[];
  readonly filter: LeaseFilter;
  onFilter(filter: LeaseFilter): void;
}

interface Props {
  /** Keeps the page's tasks apart from other pages'. */
  readonly name: string;
  readonly types: readonly TaskType[];
  children(tasks: Tasks): ReactNode;
}

/** A page of tasks. With another filter it begins anew. */
export function TasksPage({ name, types, children }: Props) {
  const [filter, onFilter] = useState<LeaseFilter>({ types });
  const desk = useDesk(name, filter);
  useOnSaved(
    desk,
    useCallback((held) => void dropDrafts(held.task.id), []),
  );
  if (!desk) return <main className="waiting" aria-busy="true" />;
  return <Fragment key={JSON.stringify(filter)}>{children({ desk, types, filter, onFilter })}</Fragment>;
}

/** The task that is shown, and the open ones after it. */
export function useShown(desk: Desk): { readonly held: Held | null; readonly ahead: readonly Held[] } {
  const { items, currentId } = useStore(desk.store);
  const held = items.find((other) => other.task.id === currentId) ?? null;
  const ahead = useMemo(() => aheadOf(items, currentId), [items, currentId]);
  return { held, ahead };
}
