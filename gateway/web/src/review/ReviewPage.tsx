import { useMemo, useState } from "react";
import { useStore } from "zustand";
import type { LeaseFilter } from "../api/routes";
import { ImageCanvas } from "../canvas/ImageCanvas";
import { viewportOf } from "../canvas/viewport";
import { EditLayer } from "../edit/EditLayer";
import type { Editor } from "../edit/editor";
import { figuresOf } from "../edit/figures";
import { Toolbar } from "../edit/Toolbar";
import { pointerTool } from "../edit/tools";
import { aheadOf, useDraftsOfSaved, useEditor } from "../edit/useEditor";
import { useWorkKeys } from "../edit/useWorkKeys";
import { changePair, emptyPair, reviewed, startReview } from "../edit/work";
import { useKeys } from "../keys/useKeys";
import { colourOf } from "../masks/palette";
import type { Desk, Held, Kind } from "../queue/desk";
import { LeaseState } from "../queue/LeaseState";
import { useDesk } from "../queue/useDesk";
import { WaitingForWork } from "../queue/WaitingForWork";
import { inform } from "../ui/notices";
import { phraseRows } from "./phrases";
import { ReviewPanel } from "./ReviewPanel";

const NO_FILTER: LeaseFilter = { types: ["review", "negative"] };

export default function ReviewPage() {
  const [filter, setFilter] = useState<LeaseFilter>(NO_FILTER);
  const desk = useDesk("review", filter);
  if (!desk) return <main className="waiting" aria-busy="true" />;
  return <Review key={JSON.stringify(filter)} desk={desk} filter={filter} onFilter={setFilter} />;
}

interface Props {
  readonly desk: Desk;
  readonly filter: LeaseFilter;
  onFilter(filter: LeaseFilter): void;
}

function Review({ desk, filter, onFilter }: Props) {
  const { items, currentId } = useStore(desk.store);
  const held = items.find((other) => other.task.id === currentId) ?? null;
  const ahead = useMemo(() => aheadOf(items, currentId), [items, currentId]);
  const editor = useEditor(held, ahead, startOf);
  useDraftsOfSaved(desk);
  if (!held || !editor) {
    return <WaitingForWork desk={desk} filter={filter} onFilter={onFilter} types={NO_FILTER.types} />;
  }
  return (
    <ReviewTask
      key={editor.task.id}
      desk={desk}
      held={held}
      editor={editor}
      filter={filter}
      onFilter={onFilter}
    />
  );
}

function startOf(held: Held) {
  return startReview(held.task, held.earlier);
}

function ReviewTask({ desk, held, editor, filter, onFilter }: Props & { held: Held; editor: Editor }) {
  const items = useStore(desk.store, (state) => state.items);
  const { work, pairKey, selectedId, editing, hidden } = useStore(editor.store);
  const [naming, setNaming] = useState(false);
  const viewport = viewportOf(held.task.image.id);
  const { task } = held;
  const pair = work.pairs.find((other) => other.key === pairKey) ?? work.pairs[0];
  const instances = pair?.instances ?? [];
  const writable = !held.decided;
  const rows = phraseRows(task, work, items);
  const tool = useMemo(() => pointerTool(editor), [editor]);
  const at = instances.findIndex((instance) => instance.id === selectedId);

  const conclude = (kind: Kind, pairs: Parameters<Desk["decide"]>[2]): void => {
    if (held.decided) return;
    if (held.lost !== null) {
      inform("This task is no longer yours. Take it back first.");
      return;
    }
    editor.stopEditing();
    editor.retire();
    void desk.decide(held, kind, pairs, editor.watch.total);
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
  const undo = async (): Promise<void> => {
    if (!held.decided && editor.undo()) return;
    const back = await desk.undo();
    if (back) inform(`Taken back: “${back.task.pair?.phrase ?? ""}” is open again.`);
    else if (!desk.store.getState().undoing) inform("There is nothing to undo.");
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

  useKeys(
    "everywhere",
    {
      next: () => desk.step(1) || inform("This is the last of your tasks."),
      previous: () => desk.step(-1) || inform("This is the first of your tasks."),
      undo,
      redo: () => editor.redo(),
      submit,
      skip: () => writable && void desk.skip(held),
      leave: () => (naming ? setNaming(false) : editor.leave()),
    },
    { onDigit: openRow },
  );
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
      <section className="stage" data-region="image" aria-label="Image">
        {editing && writable && <Toolbar editor={editor} />}
        <ImageCanvas
          image={task.image}
          viewport={viewport}
          figures={figuresOf(instances, selectedId)}
          hidden={hidden}
          label={`${task.image.name}: ${pair?.phrase ?? ""}, ${instances.length} objects`}
          tool={editing && writable ? tool : null}
          onPick={(id) => editor.select(id)}
        >
          <EditLayer editor={editor} viewport={viewport} colour={colourOf(Math.max(0, at))} />
        </ImageCanvas>
        {hidden && <p className="stage-note">Masks are hidden</p>}
        <LeaseState desk={desk} held={held} />
      </section>
      <ReviewPanel
        desk={desk}
        held={held}
        editor={editor}
        rows={rows}
        naming={naming}
        filter={filter}
        onFilter={onFilter}
        onNaming={setNaming}
        onPhrase={addPhrase}
        onRow={openRow}
        act={{ submit, reject, absent, undo, edit: () => editor.edit(), add: () => editor.begin() }}
      />
    </main>
  );
}
