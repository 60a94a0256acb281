import { useStore } from "zustand";
import type { LeaseFilter } from "../api/routes";
import type { Editor } from "../edit/editor";
import { ObjectList } from "../edit/ObjectList";
import { PhraseInput } from "../edit/PhraseInput";
import { changePair, kept } from "../edit/work";
import type { Desk, Held } from "../queue/desk";
import { FilterButton } from "../queue/FilterButton";
import { outbox } from "../queue/outbox";
import { ActionButton, KeyOf } from "../ui/Keys";
import { PhraseList } from "./PhraseList";
import type { PhraseRow } from "./phrases";

interface Props {
  readonly desk: Desk;
  readonly held: Held;
  readonly editor: Editor;
  readonly rows: readonly PhraseRow[];
  readonly naming: boolean;
  readonly filter: LeaseFilter;
  onFilter(filter: LeaseFilter): void;
  onNaming(naming: boolean): void;
  onPhrase(phrase: string): void;
  onRow(index: number): void;
  readonly act: Record<"submit" | "reject" | "absent" | "undo" | "edit" | "add", () => unknown>;
}

export function ReviewPanel(props: Props) {
  const { desk, held, editor, rows, naming, act } = props;
  const { work, pairKey, selectedId } = useStore(editor.store);
  const { items, undoing } = useStore(desk.store);
  const outcome = useStore(outbox, (state) => state.outcomes[held.task.id]);
  const { task } = held;
  const pair = work.pairs.find((other) => other.key === pairKey) ?? work.pairs[0];
  if (!pair) return null;
  const own = pair === work.pairs[0];
  const negative = pair.polarity === "negative";
  const selected = pair.instances.find((instance) => instance.id === selectedId);
  const at = items.findIndex((other) => other.task.id === task.id);
  const rejectsObject = selected !== undefined && !selected.dropped;
  const left = kept(pair).length;

  return (
    <aside className="panel" data-region="panel" aria-label="Pair">
      <div className="panel-scroll">
        <header className="pair-head">
          <p className="eyebrow">
            {negative ? "Truly absent?" : "Right, and all of them?"}
            <span className="spring" />
            <span className="place">
              {at + 1} of {items.length}
            </span>
            <FilterButton {...props} types={["review", "negative"]} />
          </p>
          <h1 data-testid="phrase">{pair.phrase}</h1>
          <p className="facts">
            {own && task.pair && <Verdict verdict={task.pair.verdict} score={task.pair.score} />}
            {negative && <span className="tag">{pair.hardNegative ? "hard negative" : "negative"}</span>}
            {!own && <span className="tag">added by you</span>}
            <span className="muted">{task.image.name}</span>
          </p>
          {negative && pair.confusedWith && (
            <p className="hint">
              Easily confused with <strong>{pair.confusedWith}</strong>, which is present.
            </p>
          )}
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
            <span className="count">{negative ? "" : left}</span>
          </h2>
          <ObjectList
            editor={editor}
            instances={pair.instances}
            selectedId={selectedId}
            writable={!held.decided}
            absent={negative}
            empty={negative ? "Nothing." : "None yet. Add the first one."}
          />
          {!negative && !held.decided && (
            <label className="check">
              <input
                type="checkbox"
                checked={pair.complete === true}
                onChange={(event) =>
                  editor.change({ work: changePair(work, pair.key, { complete: event.target.checked }) })
                }
              />
              All instances are marked <KeyOf action="review.complete" />
            </label>
          )}
        </section>

        <section>
          <h2>
            Phrases of the image<span className="count">{rows.length}</span>
            <span className="spring" />
            {!naming && !held.decided && (
              <button type="button" className="quiet" onClick={() => props.onNaming(true)}>
                Add <KeyOf action="review.phrase" />
              </button>
            )}
          </h2>
          {naming && (
            <PhraseInput
              label="Phrase that is missing"
              onPick={props.onPhrase}
              onCancel={() => props.onNaming(false)}
            />
          )}
          <PhraseList rows={rows} pairKey={pair.key} taskId={task.id} onRow={props.onRow} />
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
            action="review.accept"
            tone="primary"
            label={acceptLabel(editor.changed, negative, left)}
            run={act.submit}
          />
          <ActionButton
            action="review.reject"
            tone="danger"
            label={rejectsObject ? "Reject object" : negative ? "Reject: present or unclear" : "Reject pair"}
            run={act.reject}
          />
          <div className="row">
            <ActionButton action="review.edit" label="Edit" run={act.edit} />
            <ActionButton action="review.add" label={negative ? "It is here" : "Add"} run={act.add} />
            {!negative && own && <ActionButton action="review.absent" label="Absent" run={act.absent} />}
          </div>
        </footer>
      )}
    </aside>
  );
}

const PAST = { accept: "Accepted", reject: "Rejected", edit: "Edited" } as const;

function acceptLabel(changed: boolean, negative: boolean, left: number): string {
  if (!changed) return negative ? "Truly absent" : "Accept";
  if (!negative && left === 0) return "Submit: nothing left, reject";
  return "Submit as it is";
}

export function Verdict({ verdict, score }: { verdict: string | null | undefined; score: number }) {
  return (
    <span className={`verdict ${verdict ?? "none"}`}>
      <span className="figure">{score.toFixed(2)}</span> {verdict ?? "no verdict"}
    </span>
  );
}
