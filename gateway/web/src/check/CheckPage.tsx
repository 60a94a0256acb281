import { useRef, useState } from "react";
import { useStore } from "zustand";
import type { TaskType } from "../api/types";
import { viewportOf } from "../canvas/viewport";
import { type EditedTask, EditedTasks } from "../edit/EditedTasks";
import { EditStage } from "../edit/EditStage";
import { figuresOf } from "../edit/figures";
import { moveCursor } from "../edit/tools";
import { useWorkKeys } from "../edit/useWorkKeys";
import { startReview } from "../edit/work";
import { useKeys } from "../keys/useKeys";
import type { Point } from "../masks/bitmap";
import { colourOf } from "../masks/palette";
import type { Desk, Held, Kind } from "../queue/desk";
import { useTaskDraft } from "../queue/useTaskDraft";
import { decidable, useTaskKeys } from "../queue/useTaskKeys";
import { inform } from "../ui/notices";
import { CheckPanel } from "./CheckPanel";
import { MarkLayer } from "./MarkLayer";
import { checked, commentOf, markAt, NOTHING } from "./marks";
import "./check.css";

const TYPES: readonly TaskType[] = ["exhaustivity", "audit"];
const NEAR = 16; // pixels of the screen
const STEP = 8;
const FAR = 6;

/** A second person looks at a whole pair: right and complete, missing here, or wrong. */
export default function CheckPage() {
  return <EditedTasks name="check" types={TYPES} start={startOf} Task={CheckTask} />;
}

function startOf(held: Held) {
  return startReview(held.task, held.earlier);
}

function CheckTask({ held, editor, ...tasks }: EditedTask) {
  const { desk } = tasks;
  const { work, selectedId, editing } = useStore(editor.store);
  const [said, say] = useTaskDraft("said", held.task.id, NOTHING);
  const [placing, setPlacing] = useState(false);
  const stage = useRef<HTMLElement>(null);
  const pointer = useRef<Point | null>(null);
  const { task } = held;
  const viewport = viewportOf(task.image.id);
  const instances = work.pairs[0]?.instances ?? [];
  const writable = !held.decided;
  const at = instances.findIndex((instance) => instance.id === selectedId);

  const conclude = (kind: Kind, pairs: Parameters<Desk["decide"]>[2]): void => {
    if (!decidable(held)) return;
    editor.stopEditing();
    editor.retire();
    void desk.decide(held, kind, pairs, editor.watch.total, commentOf(said));
  };
  const accept = (): void => {
    if (editor.state.gesture) editor.endGesture();
    if (editor.state.asking) {
      inform("The model is still at work on the mask.");
      return;
    }
    const { kind, pairs } = checked(task, editor.state.work, said);
    conclude(kind, pairs);
  };
  const wrong = (): void => {
    const selected = editor.selected;
    if (selected && !selected.dropped) editor.toggle(selected.id);
    else conclude("reject", []);
  };
  /** A click on a mark takes it away, one elsewhere sets one. */
  const mark = (place: Point): void => {
    const { width, height } = task.image;
    if (!writable || place.x < 0 || place.y < 0 || place.x >= width || place.y >= height) return;
    const found = markAt(said.marks, place, NEAR / viewport.state.scale);
    const marks = found < 0 ? [...said.marks, place] : said.marks.filter((_, index) => index !== found);
    say({ ...said, marks });
    editor.select(null);
  };
  const missing = (): void => {
    if (placing) {
      const { cursor } = editor.state;
      stopPlacing();
      if (cursor) mark(cursor);
    } else if (pointer.current) {
      mark(pointer.current);
    } else {
      moveCursor(editor, 0, 0);
      setPlacing(true);
      inform("Move the cross by the arrow keys; press the key again to mark the place.");
    }
  };
  const stopPlacing = (): void => {
    setPlacing(false);
    editor.store.setState({ cursor: null });
  };
  /** The first mark becomes an instance: the model is asked there, and the person goes on from its answer. */
  const add = (): void => {
    const [first, ...rest] = said.marks;
    editor.select(null);
    editor.begin();
    if (!first) return;
    say({ ...said, marks: rest });
    void editor.prompter.click(first, true);
  };
  const unmark = (): boolean => {
    if (said.marks.length === 0) return false;
    say({ ...said, marks: said.marks.slice(0, -1) });
    return true;
  };
  const leave = (): boolean => {
    if (placing) stopPlacing();
    else if (!editor.leave()) {
      if (said.marks.length === 0) return false;
      say({ ...said, marks: NOTHING.marks });
    }
    return true;
  };

  const undo = useTaskKeys(desk, held, {
    submit: accept,
    leave,
    undo: () => editor.undo() || unmark(),
    redo: () => editor.redo(),
    nameOf: ({ task }) => `“${task.pair?.phrase ?? ""}”`,
  });
  useWorkKeys(editor, viewport, instances, editing, writable);
  useKeys(
    "check",
    {
      accept,
      missing,
      wrong,
      remove: () => editor.toggle(selectedId),
      add,
      edit: () => editor.edit(),
    },
    { active: !editing && writable },
  );
  const move = (dx: number, dy: number) => (): void => {
    const step = Math.max(1, Math.round(STEP / viewport.state.scale));
    viewport.reveal(moveCursor(editor, dx * step, dy * step));
  };
  useKeys(
    "image",
    {
      left: move(-1, 0),
      right: move(1, 0),
      up: move(0, -1),
      down: move(0, 1),
      farLeft: move(-FAR, 0),
      farRight: move(FAR, 0),
      farUp: move(0, -FAR),
      farDown: move(0, FAR),
    },
    { active: placing },
  );

  const onPointer = (event: React.PointerEvent): void => {
    const bounds = stage.current?.querySelector(".canvas")?.getBoundingClientRect();
    if (!bounds) return;
    pointer.current = viewport.toImage({ x: event.clientX - bounds.left, y: event.clientY - bounds.top });
  };

  return (
    <main className="work">
      <EditStage
        {...{ desk, held, editor }}
        ref={stage}
        figures={figuresOf(instances, selectedId)}
        colour={colourOf(Math.max(0, at))}
        label={`${task.image.name}: ${work.pairs[0]?.phrase ?? ""}, ${instances.length} objects, ${said.marks.length} marked as missing`}
        onPick={(id) => {
          if (id) editor.select(id);
          else if (pointer.current) mark(pointer.current);
        }}
        onPointerMoveCapture={onPointer}
        onPointerDownCapture={onPointer}
        onPointerUpCapture={onPointer}
        onPointerLeave={() => {
          pointer.current = null;
        }}
      >
        <MarkLayer marks={said.marks} viewport={viewport} />
      </EditStage>
      <CheckPanel
        {...tasks}
        {...{ held, editor, said }}
        onSay={say}
        act={{ accept, missing, wrong, add, edit: () => editor.edit(), undo }}
      />
    </main>
  );
}
