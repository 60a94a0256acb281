import type { Viewport } from "../canvas/viewport";
import { useKeys } from "../keys/useKeys";
import { geometryOf } from "../masks/geometry";
import type { Editor } from "./editor";
import type { ToolName } from "./state";
import { actAtCursor, moveCursor } from "./tools";
import type { Instance } from "./work";

const PAN = 60;
const CURSOR_STEP = 6; // pixels of the screen
const FAR = 6;

/** Keys of the image and of the editor, the same on every page that draws. */
export function useWorkKeys(
  editor: Editor | null,
  viewport: Viewport,
  instances: readonly Instance[],
  editing: boolean,
  writable: boolean,
): void {
  const move = (dx: number, dy: number): void => {
    if (editor && editing) {
      const step = Math.max(1, Math.round(CURSOR_STEP / viewport.state.scale));
      viewport.reveal(moveCursor(editor, dx * step, dy * step));
    } else {
      viewport.pan(-dx * PAN, -dy * PAN);
    }
  };
  useKeys("image", {
    zoomIn: () => viewport.zoom(1),
    zoomOut: () => viewport.zoom(-1),
    fit: () => viewport.fit(),
    closeUp: () => {
      const { rle, box } = editor?.selected ?? {};
      const around = rle ? geometryOf(rle).box : box;
      if (around) viewport.closeUp(around);
      else viewport.fit();
    },
    hide: () => editor?.store.setState(({ hidden }) => ({ hidden: !hidden })),
    nextObject: () => void editor?.cycle(1, instances),
    previousObject: () => void editor?.cycle(-1, instances),
    left: () => move(-1, 0),
    right: () => move(1, 0),
    up: () => move(0, -1),
    down: () => move(0, 1),
    farLeft: () => move(-FAR, 0),
    farRight: () => move(FAR, 0),
    farUp: () => move(0, -FAR),
    farDown: () => move(0, FAR),
  });
  const use = (tool: ToolName) => () => editor?.use(tool);
  useKeys(
    "edit",
    {
      click: use("click"),
      box: use("box"),
      brush: use("brush"),
      eraser: use("eraser"),
      polygon: use("polygon"),
      act: () => editor && actAtCursor(editor, false),
      actAgainst: () => editor && actAtCursor(editor, true),
      finish: () => {
        if (!editor) return;
        if (editor.state.gesture) editor.endGesture();
        else editor.stopEditing();
      },
      smaller: () => editor?.resizeBrush(1 / 1.25),
      larger: () => editor?.resizeBrush(1.25),
      add: () => editor?.begin(),
      remove: () => editor?.toggle(editor.state.selectedId),
    },
    { active: editing && writable },
  );
}
