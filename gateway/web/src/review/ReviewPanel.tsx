import { useStore } from "zustand";
import type { EditedTask } from "../edit/EditedTasks";
import { EditingActions } from "../edit/EditingActions";
import { ObjectSection } from "../edit/ObjectSection";
import { PairHead } from "../edit/PairHead";
import { PhraseInput } from "../edit/PhraseInput";
import { changePair, kept } from "../edit/work";
import { TaskPanel } from "../queue/TaskPanel";
import { ActionButton, KeyOf } from "../ui/Keys";
import { PhraseList } from "./PhraseList";
import type { PhraseRow } from "./phrases";

interface Props extends EditedTask {
  readonly rows: readonly PhraseRow[];
  readonly naming: boolean;
  readonly word: { readonly value: string; onChange(value: string): void };
  onNaming(naming: boolean): void;
  onPhrase(phrase: string): void;
  onRow(index: number): void;
  readonly act: Record<"submit" | "reject" | "absent" | "undo" | "edit" | "add", () => unknown>;
}

export function ReviewPanel(props: Props) {
  const { held, editor, rows, naming, act } = props;
  const { work, pairKey, selectedId, editing } = useStore(editor.store);
  const { task } = held;
  const pair = work.pairs.find((other) => other.key === pairKey) ?? work.pairs[0];
  if (!pair) return null;
  const own = pair === work.pairs[0];
  const negative = pair.polarity === "negative";
  const selected = pair.instances.find((instance) => instance.id === selectedId);
  const rejectsObject = selected !== undefined && !selected.dropped;
  const left = kept(pair).length;

  return (
    <TaskPanel
      {...props}
      label="Pair"
      question={negative ? "Truly absent?" : "Right, and all of them?"}
      head={
        <PairHead
          task={task}
          pair={pair}
          facts={
            own ? (
              task.pair && <Verdict verdict={task.pair.verdict} score={task.pair.score} />
            ) : (
              <span className="tag">added by you</span>
            )
          }
        >
          {negative && pair.confusedWith && (
            <p className="hint">
              Easily confused with <strong>{pair.confusedWith}</strong>, which is present.
            </p>
          )}
        </PairHead>
      }
      past={held.decided ? PAST[held.decided.kind] : ""}
      undo={act.undo}
      actions={
        editing ? (
          <EditingActions editor={editor} submit={act.submit} />
        ) : (
          <>
            <ActionButton
              action="review.accept"
              tone="primary"
              label={acceptLabel(editor.changed, negative, left)}
              run={act.submit}
            />
            <ActionButton
              action="review.reject"
              tone="danger"
              label={
                rejectsObject ? "Reject object" : negative ? "Reject: present or unclear" : "Reject pair"
              }
              run={act.reject}
            />
            <div className="row">
              <ActionButton action="review.edit" label="Edit" run={act.edit} />
              <ActionButton action="review.add" label={negative ? "It is here" : "Add"} run={act.add} />
              {!negative && own && <ActionButton action="review.absent" label="Absent" run={act.absent} />}
            </div>
          </>
        )
      }
    >
      <ObjectSection
        editor={editor}
        pair={pair}
        writable={!held.decided}
        empty="None yet. Add the first one."
      >
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
      </ObjectSection>

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
    </TaskPanel>
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
