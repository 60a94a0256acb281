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
import { changePair, labelled, pairOf, startAnnotate, UNLABELLED } from "../edit/work";
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
import { following, positives, submission } from "./submission";

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
  const { work, pairKey, selectedId, editing, hidden, typing } = useStore(editor.store);
  const [asking, setAsking] = useState(false);
  const negatives = useNegatives(editor);
  const { task } = held;
  const viewport = viewportOf(task.image.id);
  const writable = !held.decided;
  const tool = useMemo(() => pointerTool(editor), [editor]);
  const { figures, order } = annotateFigures(work, selectedId);
  const present = positives(work);
  const pair = present.find((other) => other.key === pairKey);

  const nameOf = (instanceId: string): void => {
    editor.select(instanceId);
    const was = pairOf(editor.state.work, instanceId)?.phrase ?? "";
    editor.store.setState({ typing: { instanceId, text: editor.state.typing?.text ?? was } });
  };
  const label = (): void => {
    if (selectedId) nameOf(selectedId);
    else inform("Choose a region first: Tab, or click on it.");
  };
  const stopNaming = (): void => editor.store.setState({ typing: null });
  const name = (phrase: string): void => {
    stopNaming();
    if (typing) labelAs(editor, typing.instanceId, phrase.toLowerCase());
  };
  const pick = (id: string | null): void => {
    if (!editor.state.typing) editor.select(id);
    else if (id) nameOf(id);
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
    if (editor.state.typing?.text.trim()) {
      inform("A label is being typed: Enter takes it, Esc leaves it.");
      return;
    }
    stopNaming();
    editor.stopEditing();
    const found = submission(editor.state.work);
    if (found.standing === "unnamed") {
      inform("You drew this region and gave it no label. Label it, or drop it by Del.");
      nameOf(found.instance.id);
    } else if (found.standing === "undrawn") {
      editor.select(found.instance.id);
      complain(new Error(`“${found.phrase}” has an object without a mask. Draw it, or take it out.`));
    } else if (found.standing === "unsaid") {
      setAsking(true);
    } else {
      setAsking(false);
      editor.retire();
      void desk.decide(held, found.kind, [...found.pairs], editor.watch.total);
    }
  };
  const undo = async (): Promise<void> => {
    if (!held.decided && editor.undo()) return;
    const back = await desk.undo();
    if (back) inform(`Taken back: ${back.task.image.name} is open again.`);
    else if (!desk.store.getState().undoing) inform("There is nothing to undo.");
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
      leave: () => (typing ? stopNaming() : editor.leave()),
    },
    {
      onDigit: (index) => {
        const chosen = present[index];
        if (!chosen) return;
        // With a region chosen that has no label, a digit gives it that phrase.
        const bare = selectedId && pairOf(work, selectedId)?.key === UNLABELLED;
        if (bare && writable) {
          stopNaming();
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
      complete: () => pair && complete(pair.key, pair.complete !== true),
      confirm: () => negatives.answer(true),
      refuse: () => negatives.answer(false),
      suggest: () => negatives.suggest(),
    },
    { active: !editing && writable && typing === null },
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
          onPick={pick}
        >
          <EditLayer editor={editor} viewport={viewport} colour={figures.at(-1)?.colour ?? colourOf(0)} />
        </ImageCanvas>
        {hidden && <p className="stage-note">Masks are hidden</p>}
        <LeaseState desk={desk} held={held} />
      </section>
      <AnnotatePanel
        {...{ desk, held, editor, negatives, filter, onFilter, complete }}
        onName={name}
        act={{
          label,
          add: begin,
          edit: () => editor.edit(),
          remove: () => editor.toggle(selectedId),
          submit,
          undo,
        }}
      />
      {asking && (
        <CompleteDialog
          pairs={present}
          onAnswer={complete}
          onDone={submit}
          onClose={() => setAsking(false)}
        />
      )}
    </main>
  );
}

/** Labels the region and goes on to the next without a label: a key and a phrase for each. */
function labelAs(editor: Editor, id: string, phrase: string): void {
  const after = following(editor.state.work, id);
  const next = labelled(editor.state.work, id, phrase);
  const pair = pairOf(next, id);
  editor.change({
    work: next,
    pairKey: pair?.key ?? UNLABELLED,
    selectedId: after?.id ?? id,
    prompt: null,
  });
  const instance = pair?.instances.find((each) => each.id === id);
  if (instance && !instance.rle && instance.box) void editor.fill(id);
}
