import { useMemo, useRef, useState } from "react";
import { useStore } from "zustand";
import type { LeaseFilter } from "../api/routes";
import type { TaskType } from "../api/types";
import { ImageCanvas } from "../canvas/ImageCanvas";
import { viewportOf } from "../canvas/viewport";
import { EditLayer } from "../edit/EditLayer";
import type { Editor } from "../edit/editor";
import { figuresOf } from "../edit/figures";
import { Toolbar } from "../edit/Toolbar";
import { moveCursor, pointerTool } from "../edit/tools";
import { aheadOf, useDraftsOfSaved, useEditor } from "../edit/useEditor";
import { useWorkKeys } from "../edit/useWorkKeys";
import { startReview } from "../edit/work";
import { useKeys } from "../keys/useKeys";
import type { Point } from "../masks/bitmap";
import { colourOf } from "../masks/palette";
import type { Desk, Held, Kind } from "../queue/desk";
import { LeaseState } from "../queue/LeaseState";
import { useDesk } from "../queue/useDesk";
import { WaitingForWork } from "../queue/WaitingForWork";
import { inform } from "../ui/notices";
import { CheckPanel } from "./CheckPanel";
import { MarkLayer } from "./MarkLayer";
import { checked, commentOf, markAt, NOTHING } from "./marks";
import { useSaid, useSaidOfSaved } from "./useSaid";
import "./check.css";

export const CHECK_TYPES: readonly TaskType[] = ["exhaustivity", "audit"];
const NEAR = 16; // pixels of the screen
const STEP = 8;
const FAR = 6;

/** A second person looks at a whole pair: right and complete, missing here, or wrong. */
export default function CheckPage() {
  const [filter, setFilter] = useState<LeaseFilter>({ types: CHECK_TYPES });
  const desk = useDesk("check", filter);
  if (!desk) return <main className="waiting" aria-busy="true" />;
  return <Check key={JSON.stringify(filter)} desk={desk} filter={filter} onFilter={setFilter} />;
}

interface Props {
  readonly desk: Desk;
  readonly filter: LeaseFilter;
  onFilter(filter: LeaseFilter): void;
}

function Check({ desk, filter, onFilter }: Props) {
  const { items, currentId } = useStore(desk.store);
  const held = items.find((other) => other.task.id === currentId) ?? null;
  const ahead = useMemo(() => aheadOf(items, currentId), [items, currentId]);
  const editor = useEditor(held, ahead, startOf);
  useDraftsOfSaved(desk);
  useSaidOfSaved(desk);
  if (!held || !editor) {
    return <WaitingForWork desk={desk} filter={filter} onFilter={onFilter} types={CHECK_TYPES} />;
  }
  return <CheckTask key={editor.task.id} {...{ desk, held, editor, filter, onFilter }} />;
}

function startOf(held: Held) {
  return startReview(held.task, held.earlier);
}

function CheckTask({ desk, held, editor, filter, onFilter }: Props & { held: Held; editor: Editor }) {
  const { work, selectedId, editing, hidden } = useStore(editor.store);
  const [said, say] = useSaid(held.task.id);
  const [placing, setPlacing] = useState(false);
  const stage = useRef<HTMLElement>(null);
  const pointer = useRef<Point | null>(null);
  const { task } = held;
  const viewport = viewportOf(task.image.id);
  const instances = work.pairs[0]?.instances ?? [];
  const writable = !held.decided;
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
    void editor.click(first, true);
  };
  const undo = async (): Promise<void> => {
    if (!held.decided && editor.undo()) return;
    if (!held.decided && said.marks.length > 0) {
      say({ ...said, marks: said.marks.slice(0, -1) });
      return;
    }
    const back = await desk.undo();
    if (back) inform(`Taken back: “${back.task.pair?.phrase ?? ""}” is open again.`);
    else if (!desk.store.getState().undoing) inform("There is nothing to undo.");
  };
  const leave = (): boolean => {
    if (placing) stopPlacing();
    else if (!editor.leave()) {
      if (said.marks.length === 0) return false;
      say({ ...said, marks: NOTHING.marks });
    }
    return true;
  };

  useKeys("everywhere", {
    next: () => desk.step(1) || inform("This is the last of your tasks."),
    previous: () => desk.step(-1) || inform("This is the first of your tasks."),
    undo,
    redo: () => editor.redo(),
    submit: accept,
    skip: () => writable && void desk.skip(held),
    leave,
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
      <section
        ref={stage}
        className="stage"
        data-region="image"
        aria-label="Image"
        onPointerMoveCapture={onPointer}
        onPointerDownCapture={onPointer}
        onPointerUpCapture={onPointer}
        onPointerLeave={() => {
          pointer.current = null;
        }}
      >
        <ImageCanvas
          image={task.image}
          viewport={viewport}
          figures={figuresOf(instances, selectedId)}
          hidden={hidden}
          label={`${task.image.name}: ${work.pairs[0]?.phrase ?? ""}, ${instances.length} objects, ${said.marks.length} marked as missing`}
          tool={editing && writable ? tool : null}
          onPick={(id) => {
            if (id) editor.select(id);
            else if (pointer.current) mark(pointer.current);
          }}
        >
          <EditLayer editor={editor} viewport={viewport} colour={colourOf(Math.max(0, at))} />
          <MarkLayer marks={said.marks} viewport={viewport} />
        </ImageCanvas>
        {editing && writable && <Toolbar editor={editor} />}
        {hidden && <p className="stage-note">Masks are hidden</p>}
        <LeaseState desk={desk} held={held} />
      </section>
      <CheckPanel
        desk={desk}
        held={held}
        editor={editor}
        said={said}
        filter={filter}
        onFilter={onFilter}
        onSay={say}
        act={{ accept, missing, wrong, add, edit: () => editor.edit(), undo }}
      />
    </main>
  );
}
