import { Fragment } from "react";
import type { PersonFigures, PersonStageFigures, Statistics } from "../api/schema";
import { duration, money, percent, rate, stageName, stageShort, whole } from "./format";

/** The figures that are looked at first: what people's time went into and what it gave. */
export function Summary({ found }: { found: Statistics }) {
  const decisions = sum(found.people, (person) => person.decisions);
  const seconds = sum(found.people, (person) => person.active_seconds);
  const pairs = sum(found.people, (person) => person.pairs);
  const agreements = found.people.map((person) => person.agreement).filter((value) => value !== null);
  const costs = found.stages.map((stage) => stage.cost);
  const cost = costs.includes(null) ? null : sum(costs, (value) => value ?? 0);
  const judged = found.people.length > 0;
  return (
    <dl className="summary">
      <Figure name="Pairs decided" value={whole(pairs)} note={`${whole(decisions)} decisions`} />
      <Figure name="Active time" value={duration(seconds)} note="without idle time" />
      <Figure name="Seconds per pair" value={pairs > 0 ? rate(seconds / pairs) : "–"} note="of active time" />
      <Figure
        name="Rejected"
        value={judged ? percent(weighted(found.people, (person) => person.rejection_rate)) : "–"}
        note={
          judged
            ? `${percent(weighted(found.people, (person) => person.edit_rate))} edited`
            : "of single pairs"
        }
      />
      <Figure
        name="Agreement"
        value={agreements.length > 0 ? percent(sum(agreements, (value) => value) / agreements.length) : "–"}
        note={agreements.length > 0 ? "on gold images" : "no gold images yet"}
      />
      {cost !== null && (
        <Figure
          name="Cost of people"
          value={money(cost, found.currency)}
          note={`at ${money(found.hourly_rate, found.currency)} an hour`}
        />
      )}
    </dl>
  );
}

function Figure({ name, value, note }: { name: string; value: string; note: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
      <dd className="note">{note}</dd>
    </div>
  );
}

export function StageTable({ found }: { found: Statistics }) {
  if (found.stages.length === 0) {
    return (
      <p className="nothing">
        No image has been worked on in this time. Choose a longer time, or submit a job.
      </p>
    );
  }
  const cost = found.stages.some((stage) => stage.cost !== null);
  return (
    <table className="figures">
      <thead>
        <tr>
          <th scope="col">Stage</th>
          <th scope="col">Images</th>
          <th scope="col">Pairs</th>
          <th scope="col" title="Stages 1 and 2: of a person’s active time. Stage 3: of the models’ time.">
            Images/h
          </th>
          <th scope="col">Pairs/h</th>
          <th scope="col" title="People’s active seconds for a positive pair">
            s/positive
          </th>
          <th scope="col" title="People’s active seconds for a negative pair">
            s/negative
          </th>
          <th scope="col">Decisions</th>
          {cost && <th scope="col">Cost</th>}
        </tr>
      </thead>
      <tbody>
        {found.stages.map((stage) => (
          <tr key={stage.stage}>
            <th scope="row">{stageName(stage.stage)}</th>
            <td>{whole(stage.images)}</td>
            <td>{whole(stage.pairs)}</td>
            <td>{rate(stage.images_per_hour)}</td>
            <td>{rate(stage.pairs_per_hour)}</td>
            <td>{rate(stage.seconds_per_positive)}</td>
            <td>{rate(stage.seconds_per_negative)}</td>
            <td>{whole(stage.decisions)}</td>
            {cost && <td>{money(stage.cost, found.currency)}</td>}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

interface PeopleProps {
  readonly people: readonly PersonFigures[];
  /** Shows the pairs that a person decided. */
  readonly onPerson?: ((annotator: string) => void) | undefined;
}

export function PeopleTable({ people, onPerson }: PeopleProps) {
  if (people.length === 0) {
    return (
      <p className="nothing">
        Nobody has decided anything in this time. People work on the pages Review, Annotate and Check, with a
        key of their own.
      </p>
    );
  }
  return (
    <table className="figures">
      <thead>
        <tr>
          <th scope="col">Person</th>
          <th scope="col">Decisions</th>
          <th scope="col" title="With a decision of the person, each once">
            Images
          </th>
          <th scope="col">Pairs</th>
          <th scope="col">Active</th>
          <th scope="col" title="In an hour of the person’s active time">
            Images/h
          </th>
          <th scope="col" title="In an hour of the person’s active time">
            Pairs/h
          </th>
          <th scope="col">s/pair</th>
          <th scope="col" title="Share of decisions on single pairs">
            Rejected
          </th>
          <th scope="col" title="Share of decisions on single pairs">
            Edited
          </th>
          <th scope="col" title="With the two others on gold images, of all time">
            Agreement
          </th>
        </tr>
      </thead>
      <tbody>
        {people.map((person) => (
          <Fragment key={person.annotator}>
            <tr>
              <th scope="row" title={person.annotator}>
                {onPerson ? (
                  <button type="button" className="link" onClick={() => onPerson(person.annotator)}>
                    {person.name}
                  </button>
                ) : (
                  person.name
                )}
              </th>
              <td>{whole(person.decisions)}</td>
              <td>{whole(person.images)}</td>
              <td>{whole(person.pairs)}</td>
              <td>{duration(person.active_seconds)}</td>
              <td>{rate(person.images_per_hour)}</td>
              <td>{rate(person.pairs_per_hour)}</td>
              <td>{rate(person.seconds_per_pair)}</td>
              <td>{percent(person.rejection_rate)}</td>
              <td>{percent(person.edit_rate)}</td>
              <td>{percent(person.agreement)}</td>
            </tr>
            {person.stages.length > 1 &&
              person.stages.map((part) => <PartRow key={part.stage} part={part} />)}
          </Fragment>
        ))}
      </tbody>
    </table>
  );
}

/** What a person who worked in several stages did in one: an image of stage 1 takes far longer than one of stage 2. */
function PartRow({ part }: { part: PersonStageFigures }) {
  return (
    <tr className="part">
      <th scope="row">{stageShort(part.stage)}</th>
      <td />
      <td>{whole(part.images)}</td>
      <td>{whole(part.pairs)}</td>
      <td>{duration(part.active_seconds)}</td>
      <td>{rate(part.images_per_hour)}</td>
      <td>{rate(part.pairs_per_hour)}</td>
      <td>{part.pairs > 0 ? rate(part.active_seconds / part.pairs) : rate(null)}</td>
      <td />
      <td />
      <td />
    </tr>
  );
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}

/** A rate of all people: each counts by the decisions made. */
function weighted(people: readonly PersonFigures[], value: (person: PersonFigures) => number): number {
  const decisions = sum(people, (person) => person.decisions);
  return decisions > 0 ? sum(people, (person) => value(person) * person.decisions) / decisions : 0;
}
