/** The state of an editor as plain data, and its undo: what can be gone back to, and what forward to again. */

import type { Point } from "../masks/bitmap";
import type { Rle } from "../masks/rle";
import type { Work } from "./work";

export type ToolName = "click" | "box" | "brush" | "eraser" | "polygon";

export interface PromptPoint extends Point {
  readonly positive: boolean;
}

/** The clicks that are about the chosen instance; `base` is its mask before the first of them. */
export interface Prompt {
  readonly points: readonly PromptPoint[];
  readonly base: Rle | null;
}

/** What undo goes back to. */
export interface Snapshot {
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

const MOST_PAST = 200;

/** One step that undo takes back. */
export function stepped(state: EditorState, what: Partial<Snapshot>): Partial<EditorState> {
  return { past: [...state.past, snapshot(state)].slice(-MOST_PAST), future: [], ...what };
}

/** A corner of a polygon, a drawing that has begun, or the last step goes; null where there is nothing. */
export function undone(state: EditorState): Partial<EditorState> | null {
  const { past, future, gesture } = state;
  if (gesture) {
    const corners = gesture.kind === "polygon" ? gesture.points.slice(0, -1) : [];
    return { gesture: corners.length > 0 ? { kind: "polygon", points: corners } : null };
  }
  const before = past.at(-1);
  return before ? { ...before, past: past.slice(0, -1), future: [...future, snapshot(state)] } : null;
}

export function redone(state: EditorState): Partial<EditorState> | null {
  const { past, future } = state;
  const next = future.at(-1);
  return next ? { ...next, past: [...past, snapshot(state)], future: future.slice(0, -1) } : null;
}

function snapshot({ work, pairKey, selectedId, prompt }: EditorState): Snapshot {
  return { work, pairKey, selectedId, prompt };
}
