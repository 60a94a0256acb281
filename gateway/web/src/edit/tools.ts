import type { Tool } from "../canvas/ImageCanvas";
import type { Point } from "../masks/bitmap";
import type { Editor } from "./editor";
import type { ToolName } from "./state";

export const TOOLS: readonly { readonly name: ToolName; readonly label: string; readonly help: string }[] = [
  { name: "click", label: "Click", help: "Click on it; right click on what is not part of it." },
  { name: "box", label: "Box", help: "Drag a box around it." },
  { name: "brush", label: "Brush", help: "Draw over it." },
  { name: "eraser", label: "Eraser", help: "Draw over what is too much." },
  { name: "polygon", label: "Polygon", help: "Click corner by corner; close it by Enter or a double click." },
];

/** What the pointer does in the editor. The state is read at each event: a tool never gets stale. */
export function pointerTool(editor: Editor): Tool {
  return {
    cursor: "crosshair",
    down(at, against) {
      start(editor, at, against);
    },
    move(at) {
      editor.store.setState({ pointer: at });
      extend(editor, at);
    },
    up() {
      const { gesture } = editor.state;
      if (gesture && gesture.kind !== "polygon") editor.endGesture();
    },
    leave() {
      editor.store.setState({ pointer: null });
    },
    double() {
      if (editor.state.gesture?.kind === "polygon") editor.endGesture();
    },
  };
}

/** Space: what a press of the pointer would do. Strokes and boxes are begun by the first and ended by the second. */
export function actAtCursor(editor: Editor, against: boolean): void {
  const { gesture, cursor } = editor.state;
  const at = cursor ?? centre(editor);
  if (!cursor) editor.store.setState({ cursor: at });
  if (gesture && gesture.kind !== "polygon") editor.endGesture();
  else start(editor, at, against);
}

/** An arrow key. */
export function moveCursor(editor: Editor, dx: number, dy: number): Point {
  const { width, height } = editor.task.image;
  const from = editor.state.cursor ?? centre(editor);
  const at = {
    x: Math.min(width - 0.5, Math.max(0.5, from.x + dx)),
    y: Math.min(height - 0.5, Math.max(0.5, from.y + dy)),
  };
  editor.store.setState({ cursor: at });
  extend(editor, at);
  return at;
}

function start(editor: Editor, at: Point, against: boolean): void {
  const { tool, gesture, radius } = editor.state;
  if (tool === "click") void editor.prompter.click(at, !against);
  else if (tool === "box") editor.startGesture({ kind: "box", from: at, to: at });
  else if (tool === "polygon") {
    const points = gesture?.kind === "polygon" ? gesture.points : [];
    const last = points.at(-1);
    const same = last && Math.hypot(last.x - at.x, last.y - at.y) < 0.5;
    if (!same) editor.startGesture({ kind: "polygon", points: [...points, at] });
  } else {
    const erase = (tool === "eraser") !== against;
    editor.startGesture({ kind: "stroke", points: [at], erase, radius });
  }
}

function extend(editor: Editor, at: Point): void {
  const { gesture } = editor.state;
  if (gesture?.kind === "box") editor.startGesture({ ...gesture, to: at });
  else if (gesture?.kind === "stroke") editor.startGesture({ ...gesture, points: [...gesture.points, at] });
}

function centre(editor: Editor): Point {
  const box = editor.selected?.box;
  if (box) return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
  return { x: editor.task.image.width / 2, y: editor.task.image.height / 2 };
}
