/** The work on one task: what is chosen and drawn, with undo. Kept as a draft with every change. */

import { createStore, type StoreApi } from "zustand/vanilla";
import type { ReviewTask } from "../api/types";
import type { Rle } from "../masks/rle";
import { Stopwatch } from "../queue/activity";
import { draftOf, dropDraft, keepDraft } from "../queue/drafts";
import { complain } from "../ui/notices";
import { boxOf, drawn } from "./drawing";
import { Prompter } from "./prompter";
import {
  type EditorState,
  type Gesture,
  redone,
  type Snapshot,
  stepped,
  type ToolName,
  type Typing,
  undone,
} from "./state";
import {
  changeInstance,
  changePair,
  type Instance,
  instanceOf,
  OWN,
  pairOf,
  type Work,
  type WorkPair,
  without,
} from "./work";

interface Kept extends Snapshot {
  readonly gesture: Gesture | null;
  readonly typing: Typing | null;
  readonly editing: boolean;
  readonly tool: ToolName;
}

interface Draft {
  readonly work: Kept;
  readonly seconds: number;
}

const GESTURE_MS = 200;

export class Editor {
  readonly store: StoreApi<EditorState>;
  readonly watch: Stopwatch;
  readonly prompter: Prompter = new Prompter(this);
  private timer = 0;
  private retired = false;

  static async open(task: ReviewTask, start: Work): Promise<Editor> {
    const draft = await draftOf<Draft>("draft", task.id);
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
      void dropDraft("draft", this.task.id);
      return;
    }
    const { work, pairKey, selectedId, prompt, gesture, typing, editing, tool } = this.state;
    const draft = {
      work: { work, pairKey, selectedId, prompt, gesture, typing, editing, tool },
      seconds: this.watch.total,
    };
    keepDraft("draft", this.task.id, draft).catch((error: unknown) =>
      complain(error, "This browser could not keep the draft:"),
    );
  }

  /** The decision is on its way; its draft is dropped once it is saved. */
  retire(): void {
    this.keepNow();
    this.retired = true;
    this.prompter.stop();
  }

  revive(): void {
    this.retired = false;
  }

  /** One step that undo takes back. */
  change(what: Partial<Snapshot>): void {
    this.store.setState(stepped(this.state, what));
  }

  undo(): boolean {
    this.prompter.stop();
    return this.goTo(undone(this.state));
  }

  redo(): boolean {
    return this.goTo(redone(this.state));
  }

  private goTo(there: Partial<EditorState> | null): boolean {
    if (there) this.store.setState(there);
    return there !== null;
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
    this.prompter.stop();
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

  startGesture(gesture: Gesture): void {
    this.store.setState({ gesture });
  }

  /** Ends the drawing: what was drawn becomes part of the chosen instance, or of a new one. */
  endGesture(): void {
    const { gesture } = this.state;
    this.store.setState({ gesture: null });
    if (!gesture) return;
    if (gesture.kind === "box") {
      void this.prompter.box(boxOf(gesture, this.size));
      return;
    }
    if (gesture.kind === "polygon" && gesture.points.length < 3) return;
    const erasing = gesture.kind === "stroke" && gesture.erase;
    if (erasing && !this.selected?.rle) return;
    const id = this.selected ? this.selected.id : this.begin();
    const before = instanceOf(this.state.work, id)?.rle ?? null;
    const after = drawn(gesture, before, this.size);
    if (after === null && before) {
      this.change({ work: without(this.state.work, id), selectedId: null, prompt: null });
    } else if (after !== before) {
      this.put(id, after);
    }
  }

  resizeBrush(factor: number): void {
    const { radius } = this.state;
    const next =
      factor > 1 ? Math.max(radius + 0.5, radius * factor) : Math.min(radius - 0.5, radius * factor);
    this.store.setState({ radius: Math.min(this.task.image.width / 4, Math.max(0.5, next)) });
  }

  /** Puts a mask into the instance. */
  put(id: string, rle: Rle | null): void {
    this.change({ work: changeInstance(this.state.work, id, { rle, dropped: false }), prompt: null });
  }
}
