import type { GoldVersion } from "../api/schema";
import { colourOf } from "../masks/palette";
import type { Held } from "../queue/desk";
import { TaskPanel } from "../queue/TaskPanel";
import type { Tasks } from "../queue/TasksPage";
import { ActionButton, KeyOf } from "../ui/Keys";
import { agreementOn, type Choices, pairIn, record, versionsOf } from "./choosing";

interface Props extends Tasks {
  readonly held: Held;
  readonly phrases: readonly string[];
  readonly phrase: string | null;
  readonly choices: Choices;
  onPhrase(phrase: string | null): void;
  onChoice(phrase: string, version: number): void;
  readonly word: { readonly value: string; onChange(value: string): void };
  readonly act: Record<"submit" | "undo", () => unknown>;
}

const LOW = 0.75;

export function AdjudicatePanel(props: Props) {
  const { held, phrases, phrase, choices, act } = props;
  const { task } = held;
  const taken = record(task, choices);
  return (
    <TaskPanel
      {...props}
      label="Phrases"
      question="Which version is of record?"
      head={
        <>
          <h1 data-testid="image-name">{task.image.name}</h1>
          <p className="hint">
            <kbd>1</kbd> <kbd>2</kbd> <kbd>3</kbd>{" "}
            {phrase === null ? "take a whole version" : `take “${phrase}”`};{" "}
            <KeyOf action="adjudicate.nextPhrase" /> goes through the phrases.
          </p>
        </>
      }
      past="Decided"
      undo={act.undo}
      actions={
        <ActionButton
          action="adjudicate.use"
          tone="primary"
          label={`Send ${taken.length} ${taken.length === 1 ? "pair" : "pairs"}`}
          run={act.submit}
        />
      }
    >
      <section>
        <table className="choices">
          <thead>
            <tr>
              <th scope="col" style={{ textAlign: "left" }}>
                Phrase
              </th>
              <th scope="col">Agree</th>
              {versionsOf(task).map((version, index) => (
                <th key={version.annotator} scope="col">
                  {index + 1}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {phrases.map((name, place) => {
              const agreement = agreementOn(task, name);
              return (
                <tr key={name} data-phrase={name} aria-current={name === phrase}>
                  <th scope="row">
                    <button
                      type="button"
                      className="row-button"
                      onMouseDown={(event) => event.preventDefault()}
                      onClick={() => props.onPhrase(name === phrase ? null : name)}
                    >
                      <span className="swatch" style={{ background: colourOf(place) }} aria-hidden="true" />
                      {name}
                    </button>
                  </th>
                  <td className={agreement !== null && agreement < LOW ? "figure low" : "figure"}>
                    {agreement === null ? "–" : `${Math.round(agreement * 100)} %`}
                  </td>
                  {versionsOf(task).map((version, index) => (
                    <td key={version.annotator}>
                      <button
                        type="button"
                        className="choice"
                        aria-pressed={choices[name] === index}
                        aria-label={`${name}: version ${index + 1}, ${inWords(version, name)}`}
                        disabled={held.decided !== null}
                        onMouseDown={(event) => event.preventDefault()}
                        onClick={() => props.onChoice(name, index)}
                      >
                        {inShort(version, name)}
                      </button>
                    </td>
                  ))}
                </tr>
              );
            })}
          </tbody>
        </table>
        <p className="hint" style={{ marginTop: 10 }}>
          Numbers are masks; − is absent; a dot: not looked at.
        </p>
      </section>
    </TaskPanel>
  );
}

function inShort(version: GoldVersion, phrase: string): string {
  const pair = pairIn(version, phrase);
  if (!pair) return "·";
  return pair.polarity === "negative" ? "−" : String(pair.masks.length);
}

function inWords(version: GoldVersion, phrase: string): string {
  const pair = pairIn(version, phrase);
  if (!pair) return "not looked at";
  if (pair.polarity === "negative") return "absent";
  return `${pair.masks.length} ${pair.masks.length === 1 ? "mask" : "masks"}`;
}
