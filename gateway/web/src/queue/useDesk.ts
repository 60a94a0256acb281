import { useEffect, useMemo, useState } from "react";
import { useStore } from "zustand";
import type { LeaseFilter } from "../api/routes";
import { session } from "../app/session";
import { complain } from "../ui/notices";
import { Desk, type Held } from "./desk";
import { outbox, retryNow } from "./outbox";

// By name. What a desk gives back must be back before the next one of its name takes up what was kept.
const closing = new Map<string, Promise<void>>();

/** The tasks of a page, opened with it and closed with it; `name` keeps its tasks apart from other pages'. */
export function useDesk(name: string, filter: LeaseFilter): Desk | null {
  const person = useStore(session, (state) => state.person?.key_id ?? "");
  const wanted = JSON.stringify(filter);
  const key = useMemo(() => `${person}.${name}`, [person, name]);
  const [desk, setDesk] = useState<Desk | null>(null);
  useEffect(() => {
    const opened = new Desk(key, JSON.parse(wanted) as LeaseFilter);
    setDesk(opened);
    const ready = (closing.get(key) ?? Promise.resolve()).then(() => opened.open());
    const onOnline = (): void => {
      retryNow();
      void opened.fill();
    };
    window.addEventListener("online", onOnline);
    return () => {
      window.removeEventListener("online", onOnline);
      closing.set(
        key,
        ready.then(() => opened.close()).catch((error: unknown) => complain(error)),
      );
    };
  }, [key, wanted]);
  return desk;
}

/** Calls `then` for each task of the desk once its decision is saved. */
export function useOnSaved(desk: Desk | null, then: (held: Held) => void): void {
  useEffect(() => {
    if (!desk) return;
    return outbox.subscribe(({ outcomes }, { outcomes: before }) => {
      for (const held of desk.store.getState().items) {
        const { id } = held.task;
        if (outcomes[id]?.standing === "saved" && before[id]?.standing !== "saved") then(held);
      }
    });
  }, [desk, then]);
}
