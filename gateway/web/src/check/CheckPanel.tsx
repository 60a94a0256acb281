import { useStore } from "zustand";
import type { EditedTask } from "../edit/EditedTasks";
import { EditingActions } from "../edit/EditingActions";
import { ObjectSection } from "../edit/ObjectSection";
import { PairHead } from "../edit/PairHead";
import { kept } from "../edit/work";
import { TaskPanel } from "../queue/TaskPanel";
import { ActionButton, KeyOf } from "../ui/Keys";
import type { Said } from "./marks";

interface Props extends EditedTask {
  readonly said: Said;
  onSay(said: Said): void;
  readonly act: Record<"accept" | "missing" | "wrong" | "add" | "edit" | "undo", () => unknown>;
}

const ASKED: Record<string, string> = {
  exhaustivity: "Second look: all marked?",
  audit: "Audit: is it right?",
};
const PAST = { accept: "Accepted", reject: "Rejected", edit: "Corrected" } as const;

export function CheckPanel(props: Props) {
  const { held, editor, said, onSay, act } = props;
  const { work, selectedId, editing } = useStore(editor.store);
  const { task } = held;
  const pair = work.pairs[0];
  if (!pair) return null;
  const selected = pair.instances.find((instance) => instance.id === selectedId);
  const rejectsObject = selected !== undefined && !selected.dropped;
  const negative = pair.polarity === "negative";

  return (
    <TaskPanel
      {...props}
      label="Pair"
      question={ASKED[task.type] ?? "Is it right?"}
      head={<PairHead task={task} pair={pair} />}
      past={held.decided ? PAST[held.decided.kind] : ""}
      undo={act.undo}
      word={{ value: said.comment, onChange: (comment) => onSay({ ...said, comment }) }}
      actions={
        editing ? (
          <EditingActions editor={editor} submit={act.accept} />
        ) : (
          <>
            <ActionButton
              action="check.accept"
              tone="primary"
              label={acceptLabel(said.marks.length > 0, editor.changed, negative, kept(pair).length)}
              run={act.accept}
            />
            <ActionButton
              action="check.wrong"
              tone="danger"
              label={rejectsObject ? "Take the object out" : "Wrong"}
              run={act.wrong}
            />
            <div className="row">
              <ActionButton
                action="check.missing"
                label={negative ? "It is here" : "Missing"}
                run={act.missing}
              />
              <ActionButton action="check.add" label={said.marks.length > 0 ? "Draw" : "Add"} run={act.add} />
              <ActionButton action="check.edit" label="Edit" run={act.edit} />
            </div>
          </>
        )
      }
    >
      <ObjectSection editor={editor} pair={pair} writable={!held.decided} empty="None." />

      <section>
        <h2>
          {negative ? "Where it is after all" : "Missing"}
          <span className="count">{said.marks.length || ""}</span>
        </h2>
        {said.marks.length === 0 ? (
          <p className="hint">
            Click where {negative ? "it is" : "one is missing"}, or point at it and press{" "}
            <KeyOf action="check.missing" />.
          </p>
        ) : (
          <ul className="objects marks">
            {said.marks.map((mark, index) => (
              <li key={`${mark.x} ${mark.y}`}>
                <span className="mark-place">
                  <span className="ring" aria-hidden="true">
                    {index + 1}
                  </span>
                  at {Math.round(mark.x)}, {Math.round(mark.y)}
                </span>
                {!held.decided && (
                  <button
                    type="button"
                    className="quiet"
                    aria-label={`Take mark ${index + 1} away`}
                    onMouseDown={(event) => event.preventDefault()}
                    onClick={() => onSay({ ...said, marks: said.marks.filter((other) => other !== mark) })}
                  >
                    ×
                  </button>
                )}
              </li>
            ))}
          </ul>
        )}
      </section>
    </TaskPanel>
  );
}

function acceptLabel(marked: boolean, changed: boolean, negative: boolean, left: number): string {
  if (marked)
    return left > 0 ? "Send as not complete" : negative ? "Send: it is there" : "Send: wrong, and missing";
  if (!changed) return negative ? "Truly absent" : "Right and complete";
  return left > 0 || negative ? "Send as it is now" : "Nothing left: reject";
}
