import { useState } from "react";
import { useStore } from "zustand";
import type { TaskType } from "../api/types";
import { viewportOf } from "../canvas/viewport";
import { type EditedTask, EditedTasks } from "../edit/EditedTasks";
import { EditStage } from "../edit/EditStage";
import type { Editor } from "../edit/editor";
import { useWorkKeys } from "../edit/useWorkKeys";
import { changePair, labelled, pairOf, startAnnotate, UNLABELLED } from "../edit/work";
import { useKeys } from "../keys/useKeys";
import { colourOf } from "../masks/palette";
import type { Held } from "../queue/desk";
import { useTaskDraft } from "../queue/useTaskDraft";
import { decidable, useTaskKeys } from "../queue/useTaskKeys";
import { complain, inform } from "../ui/notices";
import { AnnotatePanel } from "./AnnotatePanel";
import { CompleteDialog } from "./CompleteDialog";
import { annotateFigures } from "./figures";
import { useNegatives } from "./negatives";
import { following, positives, submission } from "./submission";

const TYPES: readonly TaskType[] = ["annotate"];

/** A whole image: regions get labels, what is missing is added, negatives are confirmed. */
export default function AnnotatePage() {
  return <EditedTasks name="annotate" types={TYPES} start={startOf} Task={AnnotateTask} />;
}

function startOf(held: Held) {
  return startAnnotate(held.task, held.earlier);
}

function AnnotateTask({ held, editor, ...tasks }: EditedTask) {
  const { desk } = tasks;
  const { work, pairKey, selectedId, editing, typing } = useStore(editor.store);
  const [asking, setAsking] = useState(false);
  const [word, setWord] = useTaskDraft("word", held.task.id, "");
  const negatives = useNegatives(editor);
  const { task } = held;
  const viewport = viewportOf(task.image.id);
  const writable = !held.decided;
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
    if (!decidable(held)) return;
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
      void desk.decide(held, found.kind, [...found.pairs], editor.watch.total, word.trim());
    }
  };
  const complete = (key: string, value: boolean): void => {
    editor.change({ work: changePair(editor.state.work, key, { complete: value }) });
  };
  const begin = (): void => {
    editor.choosePair(UNLABELLED);
    editor.begin();
  };

  const undo = useTaskKeys(desk, held, {
    submit,
    leave: () => (typing ? stopNaming() : editor.leave()),
    undo: () => editor.undo(),
    redo: () => editor.redo(),
    nameOf: ({ task }) => task.image.name,
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
  });
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
      <EditStage
        {...{ desk, held, editor, figures }}
        colour={figures.at(-1)?.colour ?? colourOf(0)}
        label={`${task.image.name}: ${order.length} regions`}
        onPick={pick}
      />
      <AnnotatePanel
        {...tasks}
        {...{ held, editor, negatives, complete }}
        word={{ value: word, onChange: setWord }}
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
  if (instance && !instance.rle && instance.box) void editor.prompter.fill(id);
}
