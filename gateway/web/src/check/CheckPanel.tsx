import { useStore } from "zustand";
import type { LeaseFilter } from "../api/routes";
import type { Editor } from "../edit/editor";
import { ObjectList } from "../edit/ObjectList";
import { kept } from "../edit/work";
import type { Desk, Held } from "../queue/desk";
import { FilterButton } from "../queue/FilterButton";
import { outbox } from "../queue/outbox";
import { ActionButton, KeyOf } from "../ui/Keys";
import { CHECK_TYPES } from "./CheckPage";
import type { Said } from "./marks";

interface Props {
  readonly desk: Desk;
  readonly held: Held;
  readonly editor: Editor;
  readonly said: Said;
  readonly filter: LeaseFilter;
  onFilter(filter: LeaseFilter): void;
  onSay(said: Said): void;
  readonly act: Record<"accept" | "missing" | "wrong" | "add" | "edit" | "undo", () => unknown>;
}

const ASKED: Record<string, string> = {
  exhaustivity: "Second look: all marked?",
  audit: "Audit: is it right?",
};
const PAST = { accept: "Accepted", reject: "Rejected", edit: "Corrected" } as const;

export function CheckPanel({ desk, held, editor, said, filter, onFilter, onSay, act }: Props) {
  const { work, selectedId } = useStore(editor.store);
  const { items, undoing } = useStore(desk.store);
  const outcome = useStore(outbox, (state) => state.outcomes[held.task.id]);
  const { task } = held;
  const pair = work.pairs[0];
  if (!pair) return null;
  const selected = pair.instances.find((instance) => instance.id === selectedId);
  const rejectsObject = selected !== undefined && !selected.dropped;
  const negative = pair.polarity === "negative";
  const at = items.findIndex((other) => other.task.id === task.id);

  return (
    <aside className="panel" data-region="panel" aria-label="Pair">
      <div className="panel-scroll">
        <header className="pair-head">
          <p className="eyebrow">
            {ASKED[task.type] ?? "Is it right?"}
            <span className="spring" />
            <span className="place">
              {at + 1} of {items.length}
            </span>
            <FilterButton filter={filter} onFilter={onFilter} types={CHECK_TYPES} />
          </p>
          <h1 data-testid="phrase">{pair.phrase}</h1>
          <p className="facts">
            {negative && <span className="tag">{pair.hardNegative ? "hard negative" : "negative"}</span>}
            <span className="muted">{task.image.name}</span>
          </p>
          {task.reasons.length > 0 && (
            <ul className="reasons" aria-label="Why it is here">
              {task.reasons.map((reason) => (
                <li key={reason}>{reason}</li>
              ))}
            </ul>
          )}
        </header>

        <section>
          <h2>
            {negative ? "What the model took for it" : "Objects"}
            <span className="count">{negative ? "" : kept(pair).length}</span>
          </h2>
          <ObjectList
            editor={editor}
            instances={pair.instances}
            selectedId={selectedId}
            writable={!held.decided}
            absent={negative}
            empty={negative ? "Nothing." : "None."}
          />
        </section>

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
          <label className="word">
            A word for the lead
            <textarea
              rows={2}
              maxLength={1500}
              value={said.comment}
              disabled={held.decided !== null}
              onChange={(event) => onSay({ ...said, comment: event.target.value })}
            />
          </label>
        </section>
      </div>

      {held.decided ? (
        <footer className="actions" data-testid="decided">
          <p className="decided">
            {PAST[held.decided.kind]} ·{" "}
            {outcome?.standing === "refused" ? (
              <span className="problem">not saved: {outcome.reason}</span>
            ) : outcome?.standing === "saving" ? (
              "saving…"
            ) : (
              "saved"
            )}
          </p>
          <ActionButton
            action="everywhere.undo"
            label="Undo last decision"
            disabled={undoing}
            run={act.undo}
          />
        </footer>
      ) : (
        <footer className="actions">
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
        </footer>
      )}
    </aside>
  );
}

function acceptLabel(marked: boolean, changed: boolean, negative: boolean, left: number): string {
  if (marked)
    return left > 0 ? "Send as not complete" : negative ? "Send: it is there" : "Send: wrong, and missing";
  if (!changed) return negative ? "Truly absent" : "Right and complete";
  return left > 0 || negative ? "Send as it is now" : "Nothing left: reject";
}
