/**
 * Decisions on their way. A decision is kept in this browser before it is sent and until the server has said that it
 * is safe; where the server cannot be reached it is sent again and again. Its id is made here, so that sending it
 * twice decides once.
 */

import { createStore } from "zustand/vanilla";
import { Refused, Unreachable, wording } from "../api/problem";
import { decide, leaseTask } from "../api/routes";
import type { DecisionRequest } from "../api/types";
import { forget, keep, kept } from "./durable";

export interface Entry {
  readonly owner: string;
  readonly taskId: string;
  readonly request: DecisionRequest;
}

export type Outcome =
  | { readonly standing: "saving"; readonly decisionId: string }
  | { readonly standing: "saved"; readonly decisionId: string }
  | { readonly standing: "refused"; readonly decisionId: string; readonly reason: string };

interface Outbox {
  readonly entries: readonly Entry[];
  /** By task. */
  readonly outcomes: Readonly<Record<string, Outcome>>;
  /** The last attempt did not reach the server. */
  readonly offline: boolean;
}

export const outbox = createStore<Outbox>()(() => ({ entries: [], outcomes: {}, offline: false }));

const FIRST_PAUSE = 1;
const LONGEST_PAUSE = 15;
let owner = "";
let sending: string | null = null;
let running = false;
let wake: (() => void) | null = null;

/** Goes on with what this person's earlier pages left unsent. */
export async function openOutbox(person: string): Promise<void> {
  if (owner === person) return;
  owner = person;
  const entries = ((await kept<Entry[]>(`outbox.${person}`)) ?? []).filter((entry) => entry.owner === person);
  const outcomes = Object.fromEntries(
    entries.map((entry) => [entry.taskId, { standing: "saving" as const, decisionId: entry.request.id }]),
  );
  outbox.setState({ entries, outcomes });
  void drain();
}

/** Keeps the decision and sends it. */
export async function post(taskId: string, request: DecisionRequest): Promise<void> {
  const entry = { owner, taskId, request };
  outbox.setState(({ entries, outcomes }) => ({
    entries: [...entries.filter((other) => other.taskId !== taskId), entry],
    outcomes: { ...outcomes, [taskId]: { standing: "saving", decisionId: request.id } },
  }));
  await store();
  void drain();
}

/** Takes back a decision that has not been sent yet. False where that is too late. */
export function withdraw(taskId: string): boolean {
  const entry = outbox.getState().entries.find((other) => other.taskId === taskId);
  if (!entry || sending === entry.request.id) return false;
  remove(entry, null);
  return true;
}

/** Forgets what became of a task's decision: the task is open again. */
export function reopen(taskId: string): void {
  outbox.setState(({ outcomes }) => {
    const { [taskId]: _, ...rest } = outcomes;
    return { outcomes: rest };
  });
}

/** Resolves once the task's decision is no longer on its way. */
export function settled(taskId: string): Promise<Outcome | undefined> {
  return new Promise((resolve) => {
    const look = (): boolean => {
      const outcome = outbox.getState().outcomes[taskId];
      if (outcome?.standing === "saving") return false;
      resolve(outcome);
      return true;
    };
    if (look()) return;
    const stop = outbox.subscribe(() => {
      if (look()) stop();
    });
  });
}

/** Tries at once instead of after the pause. */
export function retryNow(): void {
  wake?.();
  void drain();
}

window.addEventListener("online", retryNow);

async function drain(): Promise<void> {
  if (running) return;
  running = true;
  let pause = FIRST_PAUSE;
  try {
    for (;;) {
      const entry = outbox.getState().entries.find((other) => other.owner === owner);
      if (!entry) break;
      const outcome = await send(entry);
      if (outcome === "again") {
        await paused(pause);
        pause = Math.min(LONGEST_PAUSE, pause * 2);
      } else {
        pause = FIRST_PAUSE;
        remove(entry, outcome);
      }
    }
  } finally {
    running = false;
  }
}

async function send(entry: Entry): Promise<Outcome | "again"> {
  const decisionId = entry.request.id;
  sending = decisionId;
  try {
    await decide(entry.taskId, entry.request);
    outbox.setState({ offline: false });
    return { standing: "saved", decisionId };
  } catch (error) {
    const unreachable = error instanceof Unreachable;
    outbox.setState({ offline: unreachable });
    if (unreachable || (error instanceof Refused && (error.passing || error.status === 401))) return "again";
    if (error instanceof Refused && error.code === "lease_lost") return await retake(entry, error);
    return { standing: "refused", decisionId, reason: wording(error) };
  } finally {
    sending = null;
  }
}

/** The lease ended on the way: where the task is free, it is taken back and decided after all. */
async function retake(entry: Entry, lost: Refused): Promise<Outcome | "again"> {
  const decisionId = entry.request.id;
  try {
    const held = await leaseTask(entry.taskId);
    const renewed = { ...entry, request: { ...entry.request, lease_id: held.lease_id } };
    outbox.setState(({ entries }) => ({
      entries: entries.map((other) => (other.request.id === decisionId ? renewed : other)),
    }));
    await store();
    return "again";
  } catch (error) {
    if (error instanceof Unreachable || (error instanceof Refused && error.passing)) return "again";
    return { standing: "refused", decisionId, reason: `${lost.message}: ${wording(error)}` };
  }
}

function remove(entry: Entry, outcome: Outcome | null): void {
  outbox.setState(({ entries, outcomes }) => {
    const { [entry.taskId]: _, ...rest } = outcomes;
    return {
      entries: entries.filter((other) => other.request.id !== entry.request.id),
      outcomes: outcome ? { ...rest, [entry.taskId]: outcome } : rest,
    };
  });
  void store();
}

async function store(): Promise<void> {
  const { entries } = outbox.getState();
  if (entries.length > 0) await keep(`outbox.${owner}`, entries);
  else await forget(`outbox.${owner}`);
}

function paused(seconds: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = window.setTimeout(resolve, seconds * 1000);
    wake = () => {
      window.clearTimeout(timer);
      resolve();
    };
  });
}
