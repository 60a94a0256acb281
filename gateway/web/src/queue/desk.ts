/**
 * The tasks that a person holds: leased ahead, held as long as the person is at work, decided, undone. What is held is
 * kept in this browser, so that after a reload the same tasks are there.
 */

import { createStore, type StoreApi } from "zustand/vanilla";
import { serverNow } from "../api/clock";
import { Refused, Unreachable, wording } from "../api/problem";
import {
  type LeaseFilter,
  leaseTask,
  leaseTasks,
  releaseTask,
  renewLease,
  skipTask,
  undo,
} from "../api/routes";
import type { DecidedPair, LeasedTask, Reopened, ReviewTask } from "../api/types";
import { complain, inform, notices } from "../ui/notices";
import { idleSeconds } from "./activity";
import { dropDrafts, hasDraft } from "./drafts";
import { keep, kept } from "./durable";
import { type Outcome, outbox, post, reopen, settled, withdraw } from "./outbox";

export interface Held {
  readonly task: ReviewTask;
  /** What others wrote about it before. Absent of a task that an older page kept. */
  readonly comments?: LeasedTask["comments"];
  readonly leaseId: string;
  /** Server time in ms. */
  readonly expiresAt: number;
  readonly leasedAt: number;
  /** Why it is no longer ours. */
  readonly lost: string | null;
  readonly decided: { readonly id: string; readonly kind: Kind } | null;
  /** What had been decided before the decision was undone. */
  readonly earlier: Reopened["earlier"] | null;
}

export type Kind = "accept" | "reject" | "edit";

export interface DeskState {
  readonly items: readonly Held[];
  readonly currentId: string | null;
  readonly looking: boolean;
  /** The last look for work found none. */
  readonly empty: boolean;
  readonly problem: string | null;
  readonly undoing: boolean;
}

const AHEAD = 4;
const BATCH = 6;
const LOOK_AGAIN_SECONDS = 5;
const CHECK_SECONDS = 3;
const AWAY_SECONDS = 600;
const MOST_DECIDED = 50;

export class Desk {
  readonly store: StoreApi<DeskState> = createStore<DeskState>()(() => ({
    items: [],
    currentId: null,
    looking: true,
    empty: false,
    problem: null,
    undoing: false,
  }));
  private readonly order: string[] = []; // of decisions, for undo
  private timers: number[] = [];
  private unsubscribe = (): void => undefined;
  private leasing = false;
  private closed = false;

  constructor(
    private readonly name: string,
    private readonly filter: LeaseFilter,
  ) {}

  async open(): Promise<void> {
    this.closed = false;
    this.unsubscribe = outbox.subscribe(({ outcomes }, { outcomes: before }) => {
      for (const [taskId, outcome] of Object.entries(outcomes)) {
        if (outcome !== before[taskId] && outcome.standing === "refused") this.refused(taskId, outcome);
      }
    });
    const before = (await kept<Held[]>(this.place)) ?? [];
    for (const held of before) {
      if (outbox.getState().outcomes[held.task.id]) continue;
      const taken = await this.takeBack(held);
      if (this.closed) return;
      if (taken) this.add(taken);
    }
    await this.fill();
    this.timers = [
      window.setInterval(() => void this.maintain(), CHECK_SECONDS * 1000),
      window.setInterval(() => void (this.state.empty && this.fill()), LOOK_AGAIN_SECONDS * 1000),
    ];
  }

  /** Gives back what was not begun. */
  async close(): Promise<void> {
    this.closed = true;
    this.unsubscribe();
    this.timers.forEach((timer) => {
      window.clearInterval(timer);
    });
    const open = this.state.items.filter((held) => !held.decided && !held.lost);
    const begun = await Promise.all(open.map((held) => hasDraft(held.task.id)));
    const untouched = open.filter((_, index) => !begun[index]);
    await keep(
      this.place,
      open.filter((_, index) => begun[index]),
    );
    await Promise.allSettled(untouched.map((held) => releaseTask(held.task.id, held.leaseId)));
  }

  get current(): Held | null {
    const { items, currentId } = this.state;
    return items.find((held) => held.task.id === currentId) ?? null;
  }

  go(taskId: string): void {
    this.store.setState({ currentId: taskId });
    void this.fill();
  }

  /** To the task before or after; false where there is none. */
  step(by: 1 | -1): boolean {
    const { items, currentId } = this.state;
    const at = items.findIndex((held) => held.task.id === currentId);
    const next = items[at + by];
    if (!next) return false;
    this.go(next.task.id);
    return true;
  }

  /** Keeps and sends a decision, and goes to the next open task at once. */
  async decide(
    held: Held,
    kind: Kind,
    pairs: DecidedPair[],
    activeSeconds: number,
    comment = "",
  ): Promise<void> {
    const id = crypto.randomUUID();
    this.order.push(held.task.id);
    this.change(held.task.id, { decided: { id, kind } });
    this.advance(held.task.id);
    await post(held.task.id, {
      id,
      lease_id: held.leaseId,
      kind,
      pairs,
      active_seconds: Math.round(activeSeconds * 100) / 100,
      comment,
    });
    this.persist();
    void this.fill();
  }

  /** Takes the last decision back and shows its task. Resolves to the task, or null where nothing was undone. */
  async undo(): Promise<Held | null> {
    const taskId = this.order.at(-1);
    const held = this.state.items.find((other) => other.task.id === taskId);
    if (!taskId || !held?.decided || this.state.undoing) return null;
    this.store.setState({ undoing: true });
    try {
      if (!withdraw(taskId)) {
        const outcome = await settled(taskId);
        if (outcome?.standing === "saved") {
          const again = await undo(taskId, crypto.randomUUID(), held.decided.id);
          this.replace(fromLease(again, again.earlier));
        }
      }
      this.order.pop();
      reopen(taskId);
      this.change(taskId, { decided: null, lost: null });
      this.go(taskId);
      this.persist();
      return this.current;
    } catch (error) {
      if (error instanceof Refused && error.status === 409) this.order.pop();
      complain(error, "Not undone:");
      return null;
    } finally {
      this.store.setState({ undoing: false });
    }
  }

  /** The task goes to others and does not come back. */
  async skip(held: Held): Promise<void> {
    this.advance(held.task.id);
    this.drop(held.task.id);
    try {
      await skipTask(held.task.id, held.leaseId);
    } catch (error) {
      complain(error);
    }
    void this.fill();
  }

  /** The person wants a lost task again. */
  async retake(held: Held): Promise<void> {
    try {
      this.replace(fromLease(await leaseTask(held.task.id), held.earlier));
      inform("The task is yours again; what you had drawn is still here.");
    } catch (error) {
      this.change(held.task.id, { lost: wording(error) });
      complain(error);
    }
  }

  /** A lost task goes out of sight, and what was drawn for it with it. */
  abandon(taskId: string): void {
    void dropDrafts(taskId);
    this.drop(taskId);
  }

  /** A task goes out of sight. */
  private drop(taskId: string): void {
    const rest = this.state.items.filter((held) => held.task.id !== taskId);
    this.store.setState({ items: rest });
    if (this.state.currentId === taskId)
      this.store.setState({ currentId: rest.find(isOpen)?.task.id ?? null });
    this.persist();
    void this.fill();
  }

  /** Looks for work until enough of it lies ahead. */
  async fill(): Promise<void> {
    if (this.leasing || this.closed || this.state.items.filter(isOpen).length >= AHEAD) return;
    this.leasing = true;
    this.store.setState({ looking: true });
    try {
      const found = await leaseTasks(this.filter, BATCH);
      if (this.closed) return;
      for (const leased of found) this.add(fromLease(leased, null));
      this.store.setState({ empty: found.length === 0, problem: null });
      this.persist();
    } catch (error) {
      this.store.setState({ problem: wording(error), empty: true });
    } finally {
      this.leasing = false;
      this.store.setState({ looking: false });
    }
  }

  /** A decision that the server did not take: its task is open again with all that was drawn, and says why. */
  private refused(taskId: string, { reason }: Extract<Outcome, { standing: "refused" }>): void {
    const held = this.state.items.find((other) => other.task.id === taskId);
    if (!held) return;
    const at = this.order.lastIndexOf(taskId);
    if (at >= 0) this.order.splice(at, 1);
    reopen(taskId);
    this.change(taskId, { decided: null, lost: reason });
    const name = held.task.pair?.phrase ?? held.task.image.name;
    notices.getState().show({
      tone: "error",
      text: `“${name}” is not saved. ${reason}`,
      action: { label: "Show it", run: () => this.go(taskId) },
    });
  }

  private get state(): DeskState {
    return this.store.getState();
  }

  private get place(): string {
    return `desk.${this.name}`;
  }

  private add(held: Held): void {
    const items = this.state.items.filter((other) => other.task.id !== held.task.id);
    this.store.setState({ items: [...items, held], empty: false });
    if (!this.current || this.current.decided) this.store.setState({ currentId: held.task.id });
  }

  private replace(held: Held): void {
    this.store.setState({
      items: this.state.items.map((other) => (other.task.id === held.task.id ? held : other)),
    });
    this.persist();
  }

  private change(taskId: string, what: Partial<Held>): void {
    this.store.setState({
      items: this.state.items.map((held) => (held.task.id === taskId ? { ...held, ...what } : held)),
    });
  }

  /** To the next open task, those of the same image first. */
  private advance(from: string): void {
    const { items } = this.state;
    const at = items.findIndex((held) => held.task.id === from);
    const image = items[at]?.task.image.id;
    const open = [...items.slice(at + 1), ...items.slice(0, at)].filter(isOpen);
    const next = open.find((held) => held.task.image.id === image) ?? open[0];
    this.store.setState({ currentId: next?.task.id ?? from });
    const decided = items.filter((held) => held.decided);
    if (decided.length > MOST_DECIDED) {
      const oldest = decided[0];
      this.store.setState({ items: items.filter((held) => held !== oldest) });
    }
  }

  private persist(): void {
    void keep(this.place, this.state.items.filter(isOpen));
  }

  /** After a reload: longer, if it is still ours, and back, if it is free. */
  private async takeBack(held: Held): Promise<Held | null> {
    try {
      return fromLease(await leaseTask(held.task.id), held.earlier);
    } catch (error) {
      if (error instanceof Unreachable || (error instanceof Refused && error.passing)) return held;
      return (await hasDraft(held.task.id)) ? { ...held, lost: wording(error) } : null;
    }
  }

  private async maintain(): Promise<void> {
    if (idleSeconds() > AWAY_SECONDS) return;
    for (const held of this.state.items.filter(isOpen)) {
      const now = serverNow();
      const left = held.expiresAt - now;
      if (left > (held.expiresAt - held.leasedAt) / 2) continue;
      try {
        const expiresAt = await renewLease(held.task.id, held.leaseId);
        this.change(held.task.id, { expiresAt: Date.parse(expiresAt), leasedAt: now });
      } catch (error) {
        if (!(error instanceof Refused) || error.passing) continue; // tried again at the next check
        const taken = await this.takeBack(held);
        if (!taken) this.drop(held.task.id);
        else if (taken.lost !== null) this.change(held.task.id, { lost: taken.lost });
        else this.replace(taken);
      }
    }
  }
}

/** The open tasks after the one that is shown. */
export function aheadOf(items: readonly Held[], currentId: string | null): readonly Held[] {
  const at = items.findIndex((held) => held.task.id === currentId);
  return items
    .slice(at + 1)
    .filter(isOpen)
    .slice(0, 3);
}

export function isOpen(held: Held): boolean {
  return !held.decided && held.lost === null;
}

function fromLease(leased: LeasedTask, earlier: Reopened["earlier"] | null): Held {
  return {
    task: leased.task,
    comments: leased.comments,
    leaseId: leased.lease_id,
    expiresAt: Date.parse(leased.expires_at),
    leasedAt: serverNow(),
    lost: null,
    decided: null,
    earlier,
  };
}
