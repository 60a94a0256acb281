import { useMemo, useState } from "react";
import { useStore } from "zustand";
import type { LeaseFilter } from "../api/routes";
import { ImageCanvas } from "../canvas/ImageCanvas";
import { viewportOf } from "../canvas/viewport";
import { EditLayer } from "../edit/EditLayer";
import type { Editor } from "../edit/editor";
import { Toolbar } from "../edit/Toolbar";
import { pointerTool } from "../edit/tools";
import { aheadOf, useDraftsOfSaved, useEditor } from "../edit/useEditor";
import { useWorkKeys } from "../edit/useWorkKeys";
import {
  changePair,
  decided,
  kept,
  labelled,
  pairOf,
  startAnnotate,
  UNLABELLED,
  type WorkPair,
} from "../edit/work";
import { useKeys } from "../keys/useKeys";
import { colourOf } from "../masks/palette";
import type { Desk, Held } from "../queue/desk";
import { LeaseState } from "../queue/LeaseState";
import { useDesk } from "../queue/useDesk";
import { WaitingForWork } from "../queue/WaitingForWork";
import { complain, inform } from "../ui/notices";
import { AnnotatePanel } from "./AnnotatePanel";
import { CompleteDialog } from "./CompleteDialog";
import { annotateFigures } from "./figures";
import { useNegatives } from "./negatives";

const FILTER: LeaseFilter = { types: ["annotate"] };

export default function AnnotatePage() {
  const [filter, setFilter] = useState<LeaseFilter>(FILTER);
  const desk = useDesk("annotate", filter);
  if (!desk) return <main className="waiting" aria-busy="true" />;
  return <Annotate key={JSON.stringify(filter)} desk={desk} filter={filter} onFilter={setFilter} />;
}

interface Props {
  readonly desk: Desk;
  readonly filter: LeaseFilter;
  onFilter(filter: LeaseFilter): void;
}

function Annotate({ desk, filter, onFilter }: Props) {
  const { items, currentId } = useStore(desk.store);
  const held = items.find((other) => other.task.id === currentId) ?? null;
  const ahead = useMemo(() => aheadOf(items, currentId), [items, currentId]);
  const editor = useEditor(held, ahead, startOf);
  useDraftsOfSaved(desk);
  if (!held || !editor)
    return <WaitingForWork desk={desk} filter={filter} onFilter={onFilter} types={FILTER.types} />;
  return <AnnotateTask key={editor.task.id} {...{ desk, held, editor, filter, onFilter }} />;
}

function startOf(held: Held) {
  return startAnnotate(held.task, held.earlier);
}

function AnnotateTask({ desk, held, editor, filter, onFilter }: Props & { held: Held; editor: Editor }) {
  const { work, pairKey, selectedId, editing, hidden } = useStore(editor.store);
  const [naming, setNaming] = useState<string | null>(null);
  const [asking, setAsking] = useState(false);
  const negatives = useNegatives(editor);
  const { task } = held;
  const viewport = viewportOf(task.image.id);
  const writable = !held.decided;
  const tool = useMemo(() => pointerTool(editor), [editor]);
  const { figures, order } = annotateFigures(work, selectedId);
  const phrases = work.pairs.filter((pair) => pair.key !== UNLABELLED);
  const pair = phrases.find((other) => other.key === pairKey);

  const label = (): void => {
    if (!selectedId) {
      inform("Choose a region first: Tab, or click on it.");
      return;
    }
    setNaming(selectedId);
  };
  const name = (phrase: string): void => {
    const id = naming;
    setNaming(null);
    if (id) labelAs(editor, id, phrase.toLowerCase());
  };
  const submit = (): void => {
    if (editor.state.gesture) editor.endGesture();
    if (held.decided) return;
    if (held.lost !== null) {
      inform("This task is no longer yours. Take it back first.");
      return;
    }
    if (editor.state.asking) {
      inform("The model is still at work on a mask.");
      return;
    }
    const drawn = positives(editor);
    const without = drawn.find((other) => kept(other).length < shownCount(other));
    if (without) {
      editor.select(without.instances.find((instance) => !instance.dropped && !instance.rle)?.id ?? null);
      complain(new Error(`“${without.phrase}” has an object without a mask. Draw it, or take it out.`));
      return;
    }
    const unsaid = drawn.some((other) => other.complete === null);
    if (unsaid) setAsking(true);
    else send();
  };
  const send = (): void => {
    setAsking(false);
    const pairs = editor.state.work.pairs
      .filter((other) => other.key !== UNLABELLED)
      .filter((other) => other.polarity === "negative" || kept(other).length > 0)
      .map(decided);
    editor.stopEditing();
    editor.retire();
    void desk.decide(held, pairs.length > 0 ? "edit" : "reject", pairs, editor.watch.total);
  };
  const undo = async (): Promise<void> => {
    if (!held.decided && editor.undo()) return;
    const back = await desk.undo();
    inform(back ? `Taken back: ${back.task.image.name} is open again.` : "There is nothing to undo.");
  };
  const complete = (key: string, value: boolean): void => {
    editor.change({ work: changePair(editor.state.work, key, { complete: value }) });
  };
  const begin = (): void => {
    editor.choosePair(UNLABELLED);
    editor.begin();
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
      leave: () => (naming ? setNaming(null) : editor.leave()),
    },
    {
      onDigit: (index) => {
        const chosen = phrases[index];
        if (!chosen) return;
        // With a region chosen that has no label, a digit gives it that phrase.
        if (selectedId && pairOf(work, selectedId)?.key === UNLABELLED && chosen.polarity === "positive") {
          setNaming(null);
          labelAs(editor, selectedId, chosen.phrase);
        } else editor.choosePair(chosen.key);
      },
    },
  );
  useWorkKeys(editor, viewport, order, editing, writable);
  useKeys(
    "annotate",
    {
      label,
      edit: () => editor.edit(),
      add: begin,
      remove: () => editor.toggle(selectedId),
      complete: () => pair?.polarity === "positive" && complete(pair.key, pair.complete !== true),
      confirm: () => negatives.answer(true),
      refuse: () => negatives.answer(false),
      suggest: () => negatives.suggest(),
    },
    { active: !editing && writable && naming === null },
  );

  return (
    <main className="work">
      <section className="stage" data-region="image" aria-label="Image">
        {editing && writable && <Toolbar editor={editor} />}
        <ImageCanvas
          image={task.image}
          viewport={viewport}
          figures={figures}
          hidden={hidden}
          label={`${task.image.name}: ${order.length} regions`}
          tool={editing && writable ? tool : null}
          onPick={(id) => editor.select(id)}
        >
          <EditLayer editor={editor} viewport={viewport} colour={figures.at(-1)?.colour ?? colourOf(0)} />
        </ImageCanvas>
        {hidden && <p className="stage-note">Masks are hidden</p>}
        <LeaseState desk={desk} held={held} />
      </section>
      <AnnotatePanel
        {...{ desk, held, editor, naming, negatives, filter, onFilter, complete }}
        onName={name}
        onCancelName={() => setNaming(null)}
        act={{ label, add: begin, edit: () => editor.edit(), submit, undo }}
      />
      {asking && (
        <CompleteDialog
          pairs={positives(editor)}
          onAnswer={complete}
          onDone={send}
          onClose={() => setAsking(false)}
        />
      )}
    </main>
  );
}

/** Labels the region and goes on to the next without a label: a key and a phrase for each. */
function labelAs(editor: Editor, id: string, phrase: string): void {
  const before = editor.state.work.pairs[0]?.instances ?? [];
  const at = before.findIndex((instance) => instance.id === id);
  const next = labelled(editor.state.work, id, phrase);
  const open = before.filter((instance) => !instance.dropped && instance.id !== id);
  const following = open.find((instance) => before.indexOf(instance) > at) ?? open[0];
  const pair = pairOf(next, id);
  editor.change({
    work: next,
    pairKey: pair?.key ?? UNLABELLED,
    selectedId: following?.id ?? id,
    prompt: null,
  });
  const instance = pair?.instances.find((each) => each.id === id);
  if (instance && !instance.rle && instance.box) void editor.fill(id);
}

function positives(editor: Editor): WorkPair[] {
  return editor.state.work.pairs.filter(
    (pair) => pair.key !== UNLABELLED && pair.polarity === "positive" && shownCount(pair) > 0,
  );
}

function shownCount(pair: WorkPair): number {
  return pair.instances.filter((instance) => !instance.dropped).length;
}
