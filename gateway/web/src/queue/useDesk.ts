import { useEffect, useMemo, useState } from "react";
import { useStore } from "zustand";
import type { LeaseFilter } from "../api/routes";
import { session } from "../app/session";
import { Desk, type Held } from "./desk";
import { outbox, retryNow } from "./outbox";

/** The tasks of a page, opened with it and closed with it; `name` keeps its tasks apart from other pages'. */
export function useDesk(name: string, filter: LeaseFilter): Desk | null {
  const person = useStore(session, (state) => state.person?.key_id ?? "");
  const wanted = JSON.stringify(filter);
  const key = useMemo(() => `${person}.${name}`, [person, name]);
  const [desk, setDesk] = useState<Desk | null>(null);
  useEffect(() => {
    const opened = new Desk(key, JSON.parse(wanted) as LeaseFilter);
    setDesk(opened);
    const ready = opened.open();
    const onOnline = (): void => {
      retryNow();
      void opened.fill();
    };
    window.addEventListener("online", onOnline);
    return () => {
      window.removeEventListener("online", onOnline);
      void ready.then(() => opened.close());
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
