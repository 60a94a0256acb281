import { useState } from "react";
import { useStore } from "zustand";
import type { TaskType } from "../api/types";
import { viewportOf } from "../canvas/viewport";
import { type EditedTask, EditedTasks } from "../edit/EditedTasks";
import { EditStage } from "../edit/EditStage";
import { figuresOf } from "../edit/figures";
import { useWorkKeys } from "../edit/useWorkKeys";
import { changePair, emptyPair, reviewed, startReview } from "../edit/work";
import { useKeys } from "../keys/useKeys";
import { colourOf } from "../masks/palette";
import type { Desk, Held, Kind } from "../queue/desk";
import { useTaskDraft } from "../queue/useTaskDraft";
import { decidable, useTaskKeys } from "../queue/useTaskKeys";
import { inform } from "../ui/notices";
import { phraseRows } from "./phrases";
import { ReviewPanel } from "./ReviewPanel";

const TYPES: readonly TaskType[] = ["review", "negative"];

/** A pair that models have made: right and complete, to be mended, or wrong. */
export default function ReviewPage() {
  return <EditedTasks name="review" types={TYPES} start={startOf} Task={ReviewTask} />;
}

function startOf(held: Held) {
  return startReview(held.task, held.earlier);
}

function ReviewTask({ held, editor, ...tasks }: EditedTask) {
  const { desk } = tasks;
  const items = useStore(desk.store, (state) => state.items);
  const { work, pairKey, selectedId, editing } = useStore(editor.store);
  const [naming, setNaming] = useState(false);
  const [word, setWord] = useTaskDraft("word", held.task.id, "");
  const viewport = viewportOf(held.task.image.id);
  const { task } = held;
  const pair = work.pairs.find((other) => other.key === pairKey) ?? work.pairs[0];
  const instances = pair?.instances ?? [];
  const writable = !held.decided;
  const rows = phraseRows(task, work, items);
  const at = instances.findIndex((instance) => instance.id === selectedId);

  const conclude = (kind: Kind, pairs: Parameters<Desk["decide"]>[2]): void => {
    if (!decidable(held)) return;
    editor.stopEditing();
    editor.retire();
    void desk.decide(held, kind, pairs, editor.watch.total, word.trim());
  };
  const submit = (): void => {
    if (editor.state.gesture) editor.endGesture();
    if (editor.state.asking) {
      inform("The model is still at work on the mask.");
      return;
    }
    const { kind, pairs } = reviewed(task, editor.state.work);
    conclude(kind, pairs);
  };
  const reject = (): void => {
    const selected = editor.selected;
    if (selected && !selected.dropped) editor.toggle(selected.id);
    else if (!selected) conclude("reject", []);
  };
  const absent = (): void => {
    const own = editor.state.work.pairs[0];
    if (!own || held.decided) return;
    if (own.polarity === "negative") {
      conclude("accept", []);
      return;
    }
    editor.change({
      work: changePair(editor.state.work, own.key, {
        polarity: "negative",
        hardNegative: true,
        complete: null,
      }),
    });
    const { kind, pairs } = reviewed(task, editor.state.work);
    conclude(kind, pairs);
  };
  const addPhrase = (phrase: string): void => {
    setNaming(false);
    const known = rows.find((row) => row.phrase === phrase.toLowerCase());
    if (known) {
      inform(`The image has “${known.phrase}” already.`);
      return;
    }
    const key = `pair-${crypto.randomUUID()}`;
    const added = { ...emptyPair(key, phrase), complete: true };
    editor.change({
      work: { pairs: [...editor.state.work.pairs, added] },
      pairKey: key,
      selectedId: null,
      prompt: null,
    });
    editor.begin();
  };
  const openRow = (index: number): void => {
    const row = rows[index];
    if (row?.pairKey) editor.choosePair(row.pairKey);
    else if (row?.taskId) desk.go(row.taskId);
    else if (row) inform(`“${row.phrase}” is not among your tasks.`);
  };

  const undo = useTaskKeys(desk, held, {
    submit,
    leave: () => (naming ? setNaming(false) : editor.leave()),
    undo: () => editor.undo(),
    redo: () => editor.redo(),
    nameOf: ({ task }) => `“${task.pair?.phrase ?? ""}”`,
    onDigit: openRow,
  });
  useWorkKeys(editor, viewport, instances, editing, writable);
  useKeys(
    "review",
    {
      accept: submit,
      reject,
      rejectPair: () => conclude("reject", []),
      absent,
      complete: () =>
        pair && editor.change({ work: changePair(work, pair.key, { complete: !pair.complete }) }),
      remove: () => editor.toggle(selectedId),
      edit: () => editor.edit(),
      add: () => editor.begin(),
      phrase: () => setNaming(true),
    },
    { active: !editing && writable },
  );

  return (
    <main className="work">
      <EditStage
        {...{ desk, held, editor }}
        figures={figuresOf(instances, selectedId)}
        colour={colourOf(Math.max(0, at))}
        label={`${task.image.name}: ${pair?.phrase ?? ""}, ${instances.length} objects`}
        onPick={(id) => editor.select(id)}
      />
      <ReviewPanel
        {...tasks}
        held={held}
        editor={editor}
        rows={rows}
        naming={naming}
        word={{ value: word, onChange: setWord }}
        onNaming={setNaming}
        onPhrase={addPhrase}
        onRow={openRow}
        act={{ submit, reject, absent, undo, edit: () => editor.edit(), add: () => editor.begin() }}
      />
    </main>
  );
}
