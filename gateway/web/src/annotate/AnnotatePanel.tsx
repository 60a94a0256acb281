import { useStore } from "zustand";
import type { EditedTask } from "../edit/EditedTasks";
import { EditingActions } from "../edit/EditingActions";
import { PhraseInput } from "../edit/PhraseInput";
import { instanceOf, pairOf, type Work } from "../edit/work";
import { colourOf } from "../masks/palette";
import { TaskPanel } from "../queue/TaskPanel";
import { ActionButton, KeyCombo, KeyOf } from "../ui/Keys";
import type { Negatives } from "./negatives";
import { openRegions, phrasesOf, positives } from "./submission";

interface Props extends EditedTask {
  readonly negatives: Negatives;
  complete(key: string, value: boolean): void;
  onName(phrase: string): void;
  readonly word: { readonly value: string; onChange(value: string): void };
  readonly act: Record<"label" | "add" | "edit" | "remove" | "submit" | "undo", () => unknown>;
}

export function AnnotatePanel(props: Props) {
  const { held, editor, negatives, complete, act } = props;
  const { work, selectedId, pairKey, typing, editing } = useStore(editor.store);
  const { task } = held;
  const positive = positives(work);
  const negative = phrasesOf(work).filter((pair) => pair.polarity === "negative");
  const open = openRegions(work).length;
  const suggestion = negatives.open[0];

  return (
    <TaskPanel
      {...props}
      label="Annotations"
      question="Label what is there"
      head={
        <>
          <h1 data-testid="image-name">{task.image.name}</h1>
          <p className="facts">
            <span className="tag">{task.tier}</span>
            <span className="muted">{open === 1 ? "1 region" : `${open} regions`} without a label</span>
          </p>
          <output className="chosen" data-testid="chosen">
            {described(work, selectedId)}
          </output>
          {typing !== null && !held.decided && (
            <div className="naming">
              <PhraseInput
                key={typing.instanceId}
                label="What is it?"
                initial={typing.text}
                near={positive.map((pair) => pair.phrase)}
                onType={(text) => editor.store.setState({ typing: { ...typing, text } })}
                onPick={props.onName}
                onCancel={() => editor.store.setState({ typing: null })}
              />
            </div>
          )}
        </>
      }
      past="Submitted"
      undo={act.undo}
      actions={
        editing ? (
          <EditingActions editor={editor} submit={act.submit} />
        ) : (
          <>
            <ActionButton
              action="everywhere.submit"
              tone="primary"
              label={positive.length + negative.length > 0 ? "Submit the image" : "Nothing to annotate"}
              run={act.submit}
            />
            <div className="row">
              <ActionButton action="annotate.label" label="Label" disabled={!selectedId} run={act.label} />
              <ActionButton action="annotate.edit" label="Edit" run={act.edit} />
            </div>
            <div className="row">
              <ActionButton action="annotate.add" label="Add" run={act.add} />
              <ActionButton action="annotate.remove" label="Drop" disabled={!selectedId} run={act.remove} />
            </div>
          </>
        )
      }
    >
      <section>
        <h2>
          Phrases<span className="count">{positive.length}</span>
        </h2>
        {positive.length === 0 && (
          <p className="hint">
            None yet. <KeyOf action="image.nextObject" /> chooses a region, <KeyOf action="annotate.label" />{" "}
            labels it.
          </p>
        )}
        <ol className="phrases">
          {positive.map((pair, index) => (
            <li key={pair.key} className="annotated">
              <button
                type="button"
                className="phrase-row"
                aria-current={pair.key === pairKey ? "true" : undefined}
                onMouseDown={(event) => event.preventDefault()}
                onClick={() => editor.choosePair(pair.key)}
              >
                {index < 9 ? <KeyCombo combo={String(index + 1)} /> : <span className="no-key" />}
                <span className="swatch" style={{ background: colourOf(index) }} aria-hidden="true" />
                <span className="phrase">{pair.phrase}</span>
                <span className="state">{pair.instances.filter((instance) => !instance.dropped).length}</span>
              </button>
              <label className="check small" title="All instances are marked">
                <input
                  type="checkbox"
                  checked={pair.complete === true}
                  disabled={held.decided !== null}
                  onChange={(event) => complete(pair.key, event.target.checked)}
                />
                all
              </label>
            </li>
          ))}
        </ol>
        {positive.length > 0 && (
          <p className="hint">
            <KeyOf action="annotate.complete" /> all instances of the chosen phrase are marked
          </p>
        )}
      </section>

      <section>
        <h2>
          Hard negatives<span className="count">{negative.length}</span>
          <span className="spring" />
          {!held.decided && (
            <button type="button" className="quiet" disabled={negatives.looking} onClick={negatives.suggest}>
              {negatives.looking ? "Looking…" : "Suggest"} <KeyOf action="annotate.suggest" />
            </button>
          )}
        </h2>
        {suggestion && (
          <section className="suggestion" data-testid="suggestion" aria-label="Suggested negative">
            <p>
              Is <strong>{suggestion.phrase}</strong> absent?
            </p>
            <p className="hint">
              {suggestion.reason}
              {suggestion.confused_with ? ` · like “${suggestion.confused_with}”` : ""}
              {negatives.open.length > 1 ? ` · ${negatives.open.length - 1} more` : ""}
            </p>
            <div className="row">
              <ActionButton action="annotate.confirm" label="Absent" run={() => negatives.answer(true)} />
              <ActionButton action="annotate.refuse" label="Refuse" run={() => negatives.answer(false)} />
            </div>
          </section>
        )}
        <ul className="negatives">
          {negative.map((pair) => (
            <li key={pair.key}>
              <span className="phrase">
                <span className="sign">not</span>
                {pair.phrase}
              </span>
              {!held.decided && (
                <button
                  type="button"
                  className="quiet"
                  aria-label={`Remove the negative ${pair.phrase}`}
                  onClick={() =>
                    editor.change({ work: { pairs: work.pairs.filter((other) => other.key !== pair.key) } })
                  }
                >
                  ×
                </button>
              )}
            </li>
          ))}
        </ul>
      </section>
    </TaskPanel>
  );
}

/** The chosen region in words, read out by screen readers. */
function described(work: Work, id: string | null): string {
  const instance = instanceOf(work, id);
  const pair = id ? pairOf(work, id) : undefined;
  if (!instance || !pair) return "No region is chosen";
  const place = `${pair.instances.indexOf(instance) + 1} of ${pair.instances.length}`;
  const what = pair.phrase ? `${pair.phrase}, ${place}` : `Region ${place}, no label`;
  if (instance.dropped) return `${what}, dropped`;
  return instance.rle ? what : `${what}, no mask yet`;
}
