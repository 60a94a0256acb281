import { useEffect, useMemo, useState } from "react";
import type { GoldVersion } from "../api/schema";
import type { TaskType } from "../api/types";
import { type Figure, ImageCanvas } from "../canvas/ImageCanvas";
import { pictureOf } from "../canvas/pictures";
import { viewportOf } from "../canvas/viewport";
import { useKeys } from "../keys/useKeys";
import { colourOf } from "../masks/palette";
import { Stopwatch, watch } from "../queue/activity";
import type { Held } from "../queue/desk";
import { LeaseState } from "../queue/LeaseState";
import { type Tasks, TasksPage, useShown } from "../queue/TasksPage";
import { useTaskDraft } from "../queue/useTaskDraft";
import { decidable, useTaskKeys } from "../queue/useTaskKeys";
import { WaitingForWork } from "../queue/WaitingForWork";
import { AdjudicatePanel } from "./AdjudicatePanel";
import {
  agreementOf,
  type Choices,
  onlyVersion,
  pairIn,
  phrasesOf,
  proposed,
  record,
  versionsOf,
  wholly,
} from "./choosing";
import "./check.css";

const TYPES: readonly TaskType[] = ["adjudicate"];
const PAN = 60;
const FAR = 6;

/** A lead makes the version of record out of the three that annotators of a gold image made. */
export default function AdjudicatePage() {
  return (
    <TasksPage name="adjudicate" types={TYPES}>
      {(tasks) => <Shown {...tasks} />}
    </TasksPage>
  );
}

function Shown(tasks: Tasks) {
  const { held, ahead } = useShown(tasks.desk);
  useEffect(() => {
    for (const next of ahead) void pictureOf(next.task.image.id).catch(() => undefined);
  }, [ahead]);
  if (!held) return <WaitingForWork {...tasks} />;
  return <AdjudicateTask key={`${held.task.id} ${held.task.round}`} {...tasks} held={held} />;
}

function AdjudicateTask({ held, ...tasks }: Tasks & { held: Held }) {
  const { desk } = tasks;
  const { task } = held;
  const phrases = useMemo(() => phrasesOf(task), [task]);
  const versions = versionsOf(task);
  const start = useMemo(() => proposed(task), [task]);
  const [choices, choose] = useTaskDraft<Choices>("choices", task.id, start);
  const [word, setWord] = useTaskDraft("word", task.id, "");
  const [phrase, setPhrase] = useState<string | null>(null);
  const [hidden, setHidden] = useState(false);
  const viewport = viewportOf(task.image.id);
  const stopwatch = useMemo(() => new Stopwatch(), []);
  const writable = !held.decided;

  useEffect(() => {
    watch(stopwatch);
    return () => watch(null);
  }, [stopwatch]);

  const submit = (): void => {
    if (decidable(held)) void desk.decide(held, "edit", record(task, choices), stopwatch.total, word.trim());
  };
  /** Of the phrase that is looked at, else of all. */
  const take = (version: number): void => {
    if (!writable || version >= versions.length) return;
    choose(phrase === null ? wholly(task, version) : { ...choices, [phrase]: version });
  };
  const step = (by: 1 | -1) => (): void => {
    // One more place than phrases: all of them.
    const at = phrase === null ? phrases.length : phrases.indexOf(phrase);
    const next = (at + by + phrases.length + 1) % (phrases.length + 1);
    setPhrase(phrases[next] ?? null);
  };
  const leave = (): boolean => {
    if (phrase === null) return false;
    setPhrase(null);
    return true;
  };

  const undo = useTaskKeys(desk, held, {
    submit,
    leave,
    nameOf: ({ task }) => task.image.name,
    onDigit: take,
  });
  const pan = (dx: number, dy: number) => (): void => viewport.pan(-dx * PAN, -dy * PAN);
  useKeys("image", {
    zoomIn: () => viewport.zoom(1),
    zoomOut: () => viewport.zoom(-1),
    fit: () => viewport.fit(),
    hide: () => setHidden(!hidden),
    left: pan(-1, 0),
    right: pan(1, 0),
    up: pan(0, -1),
    down: pan(0, 1),
    farLeft: pan(-FAR, 0),
    farRight: pan(FAR, 0),
    farUp: pan(0, -FAR),
    farDown: pan(0, FAR),
  });
  useKeys("adjudicate", { use: submit, nextPhrase: step(1), previousPhrase: step(-1) });

  const only = onlyVersion(choices);
  return (
    <main className="adjudicate">
      <div className="versions" data-region="image">
        {versions.map((version, index) => {
          const agreement = agreementOf(task, version);
          const chosen = phrase === null ? only === index : choices[phrase] === index;
          return (
            <section
              key={version.annotator}
              className="version"
              data-version={index + 1}
              data-chosen={chosen}
              aria-label={`Version ${index + 1}${chosen ? ", chosen" : ""}`}
            >
              <header>
                <button
                  type="button"
                  className="choice"
                  aria-pressed={chosen}
                  aria-label={`Take version ${index + 1}`}
                  disabled={!writable}
                  onMouseDown={(event) => event.preventDefault()}
                  onClick={() => take(index)}
                >
                  {index + 1}
                </button>
                <h2 title={version.annotator}>Annotator {index + 1}</h2>
                <span className="spring" />
                {agreement !== null && (
                  <span className="figure">{Math.round(agreement * 100)} % agreement</span>
                )}
              </header>
              <div className="stage">
                <ImageCanvas
                  image={task.image}
                  viewport={viewport}
                  hidden={hidden}
                  label={`Version ${index + 1} of ${task.image.name}${phrase === null ? "" : `, ${phrase}`}`}
                  figures={figures(phrases, phrase, version)}
                  onPick={(id) => setPhrase(id === null ? null : (id.split("\n")[0] ?? null))}
                />
              </div>
            </section>
          );
        })}
        <LeaseState desk={desk} held={held} />
      </div>
      <AdjudicatePanel
        {...tasks}
        {...{ held, phrases, phrase, choices }}
        word={{ value: word, onChange: setWord }}
        onPhrase={setPhrase}
        onChoice={(of, version) => choose({ ...choices, [of]: version })}
        act={{ submit, undo }}
      />
    </main>
  );
}

/** Coloured by phrase, the same in every version; a phrase's number is its place in the list. */
function figures(phrases: readonly string[], phrase: string | null, version: GoldVersion): Figure[] {
  return phrases.flatMap((name, at) =>
    (pairIn(version, name)?.masks ?? []).map((mask, number) => ({
      id: `${name}\n${number}`,
      rle: mask.rle,
      colour: colourOf(at),
      faint: phrase !== null && phrase !== name,
    })),
  );
}
