import { useEffect, useState } from "react";
import { pictureOf } from "../canvas/pictures";
import { geometryOf } from "../masks/geometry";
import { watch } from "../queue/activity";
import type { Held } from "../queue/desk";
import { Editor } from "./editor";
import type { Work } from "./work";

export type Start = (held: Held) => Work;

// Decided tasks are looked at again, with what was decided; an undone one has another round.
const MOST_EDITORS = 100;
const editors = new Map<string, Promise<Editor>>();

/** The editor of a held task, made once for each lease of it and opened ahead. */
export function editorOf(held: Held, start: Start): Promise<Editor> {
  const name = `${held.task.id} ${held.task.round}`;
  let found = editors.get(name);
  if (!found) {
    found = Editor.open(held.task, start(held));
    editors.set(name, found);
    const [oldest] = editors.keys();
    if (editors.size > MOST_EDITORS && oldest !== undefined) editors.delete(oldest);
  }
  return found;
}

/** The editor of the task that is shown; the next ones, with their pictures, are made ready meanwhile. */
export function useEditor(held: Held | null, ahead: readonly Held[], start: Start): Editor | null {
  const [shown, setShown] = useState<Editor | null>(null);

  useEffect(() => {
    if (!held) {
      setShown(null);
      return;
    }
    let current = true;
    void editorOf(held, start).then((editor) => {
      if (!current) return;
      if (!held.decided) editor.revive();
      setShown(editor);
      watch(editor.watch);
    });
    return () => {
      current = false;
      watch(null);
    };
  }, [held, start]);

  useEffect(() => {
    const images = new Set(ahead.map((next) => next.task.image.id));
    for (const next of ahead) void editorOf(next, start).then(warm);
    for (const image of images) void pictureOf(image).catch(() => undefined);
  }, [ahead, start]);

  useEffect(() => {
    const onHide = (): void => shown?.keepNow();
    window.addEventListener("pagehide", onHide);
    return () => window.removeEventListener("pagehide", onHide);
  }, [shown]);

  return held && shown?.task.id === held.task.id ? shown : null;
}

/** Outlines are made before they are shown. */
function warm(editor: Editor): void {
  for (const { instances } of editor.state.work.pairs) {
    for (const { rle } of instances) if (rle) geometryOf(rle).path();
  }
}
