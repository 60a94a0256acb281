/** The work on one task: what is chosen, drawn and asked, with undo. Kept as a draft with every change. */

import { createStore, type StoreApi } from "zustand/vanilla";
import { segment } from "../api/routes";
import type { ReviewTask } from "../api/types";
import type { Point } from "../masks/bitmap";
import { type Stroke, stroked, withPolygon } from "../masks/editing";
import { geometryOf } from "../masks/geometry";
import type { Box, Rle } from "../masks/rle";
import { Stopwatch } from "../queue/activity";
import { draftOf, dropDraft, keepDraft } from "../queue/drafts";
import { complain } from "../ui/notices";
import {
  changeInstance,
  changePair,
  type Instance,
  instanceOf,
  kept,
  OWN,
  pairOf,
  UNLABELLED,
  type Work,
  type WorkPair,
  without,
} from "./work";

export type ToolName = "click" | "box" | "brush" | "eraser" | "polygon";

export interface PromptPoint extends Point {
  readonly positive: boolean;
}

/** The clicks that are about the chosen instance; `base` is its mask before the first of them. */
interface Prompt {
  readonly points: readonly PromptPoint[];
  readonly base: Rle | null;
}

/** What undo goes back to. */
interface Snapshot {
  readonly work: Work;
  readonly pairKey: string;
  readonly selectedId: string | null;
  readonly prompt: Prompt | null;
}

/** A drawing that has begun. */
export type Gesture =
  | {
      readonly kind: "stroke";
      readonly points: readonly Point[];
      readonly erase: boolean;
      readonly radius: number;
    }
  | { readonly kind: "polygon"; readonly points: readonly Point[] }
  | { readonly kind: "box"; readonly from: Point; readonly to: Point };

/** A phrase that is being typed for an instance. */
export interface Typing {
  readonly instanceId: string;
  readonly text: string;
}

export interface EditorState extends Snapshot {
  readonly past: readonly Snapshot[];
  readonly future: readonly Snapshot[];
  readonly editing: boolean;
  readonly tool: ToolName;
  readonly radius: number;
  readonly gesture: Gesture | null;
  readonly typing: Typing | null;
  /** The keyboard's place on the image; null until an arrow key is used. */
  readonly cursor: Point | null;
  readonly pointer: Point | null;
  /** The segmenter is at work. */
  readonly asking: boolean;
  readonly hidden: boolean;
}

interface Kept extends Snapshot {
  readonly gesture: Gesture | null;
  readonly typing: Typing | null;
  readonly editing: boolean;
  readonly tool: ToolName;
}

const MOST_PAST = 200;
const GESTURE_MS = 200;

export class Editor {
  readonly store: StoreApi<EditorState>;
  readonly watch: Stopwatch;
  private asked: AbortController | null = null;
  private timer = 0;
  private retired = false;

  static async open(task: ReviewTask, start: Work): Promise<Editor> {
    const draft = await draftOf<Kept>(task.id);
    const editor = new Editor(task, start, draft?.work ?? null, draft?.seconds ?? 0);
    const { gesture } = editor.state;
    // The stroke that a reload has cut off ends where it was cut.
    if (gesture?.kind === "stroke") editor.endGesture();
    return editor;
  }

  constructor(
    readonly task: ReviewTask,
    private readonly start: Work,
    draft: Kept | null,
    seconds: number,
  ) {
    this.watch = new Stopwatch(seconds);
    const first = start.pairs[0]?.key ?? OWN;
    this.store = createStore<EditorState>()(() => ({
      work: draft?.work ?? start,
      pairKey: draft?.pairKey ?? first,
      selectedId: draft?.selectedId ?? null,
      prompt: draft?.prompt ?? null,
      past: [],
      future: [],
      editing: draft?.editing ?? false,
      tool: draft?.tool ?? "click",
      radius: Math.max(2, Math.round(Math.max(task.image.width, task.image.height) / 64)),
      gesture: draft?.gesture ?? null,
      typing: draft?.typing ?? null,
      cursor: null,
      pointer: null,
      asking: false,
      hidden: false,
    }));
    this.store.subscribe((now, before) => {
      if (
        now.work !== before.work ||
        now.selectedId !== before.selectedId ||
        now.editing !== before.editing ||
        now.typing !== before.typing
      ) {
        this.keepNow();
      } else if (now.gesture !== before.gesture && !this.timer) {
        this.timer = window.setTimeout(() => this.keepNow(), GESTURE_MS);
      }
    });
  }

  get state(): EditorState {
    return this.store.getState();
  }

  get size(): readonly [number, number] {
    return [this.task.image.height, this.task.image.width];
  }

  get pair(): WorkPair | undefined {
    const { work, pairKey } = this.state;
    return work.pairs.find((pair) => pair.key === pairKey) ?? work.pairs[0];
  }

  get selected(): Instance | undefined {
    return instanceOf(this.state.work, this.state.selectedId);
  }

  /** Whether the person has changed anything. */
  get changed(): boolean {
    const { work, gesture, typing } = this.state;
    return work !== this.start || gesture !== null || typing !== null;
  }

  /** Writes the draft. In `pagehide` nothing later would be written. */
  keepNow(): void {
    window.clearTimeout(this.timer);
    this.timer = 0;
    if (this.retired) return;
    if (!this.changed) {
      void dropDraft(this.task.id);
      return;
    }
    const { work, pairKey, selectedId, prompt, gesture, typing, editing, tool } = this.state;
    const draft = {
      work: { work, pairKey, selectedId, prompt, gesture, typing, editing, tool },
      seconds: this.watch.total,
    };
    keepDraft(this.task.id, draft).catch((error: unknown) =>
      complain(error, "This browser could not keep the draft:"),
    );
  }

  /** The decision is on its way; its draft is dropped once it is saved. */
  retire(): void {
    this.keepNow();
    this.retired = true;
    this.asked?.abort();
  }

  revive(): void {
    this.retired = false;
  }

  /** One step that undo takes back. */
  change(what: Partial<Snapshot>): void {
    const { work, pairKey, selectedId, prompt, past } = this.state;
    this.store.setState({
      past: [...past, { work, pairKey, selectedId, prompt }].slice(-MOST_PAST),
      future: [],
      ...what,
    });
  }

  undo(): boolean {
    const { past, future, gesture, work, pairKey, selectedId, prompt } = this.state;
    this.asked?.abort();
    if (gesture) {
      const shorter = gesture.kind === "polygon" && gesture.points.length > 1;
      const points = shorter ? gesture.points.slice(0, -1) : [];
      this.store.setState({ gesture: shorter ? { kind: "polygon", points } : null });
      return true;
    }
    const before = past.at(-1);
    if (!before) return false;
    this.store.setState({
      ...before,
      past: past.slice(0, -1),
      future: [...future, { work, pairKey, selectedId, prompt }],
    });
    return true;
  }

  redo(): boolean {
    const { past, future, work, pairKey, selectedId, prompt } = this.state;
    const next = future.at(-1);
    if (!next) return false;
    this.store.setState({
      ...next,
      past: [...past, { work, pairKey, selectedId, prompt }],
      future: future.slice(0, -1),
    });
    return true;
  }

  select(id: string | null): void {
    const { selectedId, work, pairKey } = this.state;
    if (id === selectedId) return;
    this.store.setState({
      selectedId: id,
      prompt: null,
      pairKey: (id && pairOf(work, id)?.key) ?? pairKey,
    });
  }

  choosePair(key: string): void {
    if (key !== this.state.pairKey) this.store.setState({ pairKey: key, selectedId: null, prompt: null });
  }

  /** To the next instance of those that the page shows; false where there is none. */
  cycle(by: 1 | -1, among: readonly Instance[]): boolean {
    if (among.length === 0) return false;
    const at = among.findIndex((instance) => instance.id === this.state.selectedId);
    const next = at < 0 ? (by > 0 ? 0 : among.length - 1) : (at + by + among.length) % among.length;
    this.select(among[next]?.id ?? null);
    return true;
  }

  edit(tool?: ToolName): void {
    this.store.setState({ editing: true, ...(tool ? { tool } : {}) });
  }

  use(tool: ToolName): void {
    const { gesture } = this.state;
    if (gesture) this.endGesture();
    this.store.setState({ tool, prompt: null });
  }

  /** One step out: of the gesture, the clicks, the editing, the choice. False where there is none. */
  leave(): boolean {
    const { gesture, editing, prompt, selectedId, cursor } = this.state;
    this.asked?.abort();
    if (gesture) this.store.setState({ gesture: null });
    else if (prompt) this.store.setState({ prompt: null });
    else if (editing) this.stopEditing();
    else if (selectedId) this.select(null);
    else if (cursor) this.store.setState({ cursor: null });
    else return false;
    return true;
  }

  stopEditing(): void {
    const selected = this.selected;
    this.store.setState({ editing: false, gesture: null, prompt: null, cursor: null, pointer: null });
    // Begun and never drawn.
    if (selected && !selected.rle && !selected.box) {
      this.store.setState({ work: without(this.state.work, selected.id), selectedId: null });
    }
  }

  /** A new instance of the chosen pair, to be drawn. */
  begin(): string {
    const selected = this.selected;
    if (selected && !selected.rle && !selected.box && !selected.made) {
      this.edit();
      return selected.id;
    }
    const id = crypto.randomUUID();
    const pair = this.pair;
    if (!pair) return id;
    const instance = { id, rle: null, box: null, made: null, dropped: false };
    const polarity = "positive" as const;
    this.change({
      work: changePair(this.state.work, pair.key, { instances: [...pair.instances, instance], polarity }),
      selectedId: id,
      prompt: null,
    });
    this.edit();
    return id;
  }

  /** Takes the instance out, or, where it was out, in again; the choice goes on to the next. */
  toggle(id: string | null): boolean {
    const instance = instanceOf(this.state.work, id);
    if (!instance) return false;
    if (instance.dropped) {
      const pair = pairOf(this.state.work, instance.id);
      const back = changeInstance(this.state.work, instance.id, { dropped: false });
      this.change({ work: pair ? changePair(back, pair.key, { polarity: "positive" }) : back });
      return true;
    }
    const pair = pairOf(this.state.work, instance.id);
    const rest = pair?.instances.filter((each) => !each.dropped && each.id !== id) ?? [];
    const at = pair?.instances.findIndex((each) => each.id === id) ?? 0;
    const next = rest.find((each) => (pair?.instances.indexOf(each) ?? 0) > at) ?? rest[0];
    this.change({ work: without(this.state.work, instance.id), selectedId: next?.id ?? null, prompt: null });
    return true;
  }

  /** A click of the click tool. */
  async click(at: Point, positive: boolean): Promise<void> {
    const x = Math.min(this.task.image.width - 0.5, Math.max(0.5, at.x));
    const y = Math.min(this.task.image.height - 0.5, Math.max(0.5, at.y));
    const id = this.state.selectedId && this.selected ? this.state.selectedId : this.begin();
    const { prompt } = this.state;
    const base = prompt ? prompt.base : (this.selected?.rle ?? null);
    const points = [...(prompt?.points ?? []), { x, y, positive }];
    if (!base && !points.some((point) => point.positive)) return;
    this.change({ prompt: { base, points } });
    await this.ask(id, [], points, base);
  }

  /** A box of the box tool. */
  async box(box: Box): Promise<void> {
    if (box.width < 2 || box.height < 2) return;
    const id = this.selected ? this.selected.id : this.begin();
    await this.ask(id, [[box.x, box.y, box.width, box.height]], [], null, true);
  }

  /** Asks for the mask of an instance that has a box only. */
  async fill(id: string): Promise<void> {
    const box = instanceOf(this.state.work, id)?.box;
    if (box) await this.ask(id, [[box.x, box.y, box.width, box.height]], [], null);
  }

  startGesture(gesture: Gesture): void {
    this.store.setState({ gesture });
  }

  /** Ends the drawing: what was drawn becomes part of the chosen instance, or of a new one. */
  endGesture(): void {
    const { gesture } = this.state;
    this.store.setState({ gesture: null });
    if (!gesture) return;
    if (gesture.kind === "box") {
      const { from, to } = gesture;
      const left = Math.max(0, Math.min(from.x, to.x));
      const top = Math.max(0, Math.min(from.y, to.y));
      const right = Math.min(this.task.image.width, Math.max(from.x, to.x));
      const bottom = Math.min(this.task.image.height, Math.max(from.y, to.y));
      void this.box({ x: left, y: top, width: right - left, height: bottom - top });
      return;
    }
    if (gesture.kind === "polygon" && gesture.points.length < 3) return;
    const erasing = gesture.kind === "stroke" && gesture.erase;
    if (erasing && !this.selected?.rle) return;
    const id = this.selected ? this.selected.id : this.begin();
    const before = instanceOf(this.state.work, id)?.rle ?? null;
    const after =
      gesture.kind === "stroke"
        ? stroked(before, this.size, gesture satisfies Stroke)
        : withPolygon(before, this.size, gesture.points);
    if (after === null && before) {
      this.change({ work: without(this.state.work, id), selectedId: null, prompt: null });
    } else if (after !== before) {
      this.put(id, after, null);
    }
  }

  resizeBrush(factor: number): void {
    const { radius } = this.state;
    const next =
      factor > 1 ? Math.max(radius + 0.5, radius * factor) : Math.min(radius - 0.5, radius * factor);
    this.store.setState({ radius: Math.min(this.task.image.width / 4, Math.max(0.5, next)) });
  }

  /** Puts a mask into the instance. */
  put(id: string, rle: Rle | null, prompt: Prompt | null): void {
    this.change({ work: changeInstance(this.state.work, id, { rle, dropped: false }), prompt });
  }

  private async ask(
    id: string,
    boxes: [number, number, number, number][],
    points: readonly PromptPoint[],
    mask: Rle | null,
    step = false,
  ): Promise<void> {
    this.asked?.abort();
    const request = new AbortController();
    this.asked = request;
    this.store.setState({ asking: true });
    try {
      const found = await segment(this.task.image.id, { boxes, points, mask }, request.signal);
      if (request.signal.aborted) return;
      const rle = found[0]?.rle ?? null;
      if (!rle || geometryOf(rle).area === 0) {
        complain(new Error("The model found nothing there. Try a box, or draw it."));
        return;
      }
      // The click itself was the step; its answer belongs to it.
      if (step) this.put(id, rle, null);
      else this.store.setState({ work: changeInstance(this.state.work, id, { rle, dropped: false }) });
    } catch (error) {
      if (!request.signal.aborted) complain(error, "The model did not answer:");
    } finally {
      if (this.asked === request) this.store.setState({ asking: false });
    }
  }
}

/** The instances that a page shows of a pair, in the order of their numbers. */
export function shown(pair: WorkPair | undefined): readonly Instance[] {
  return pair?.instances ?? [];
}

export { kept, UNLABELLED };
