import { useQuery } from "@tanstack/react-query";
import { useId } from "react";
import { phrases } from "../api/routes";
import type { PersonFigures } from "../api/schema";
import { models } from "./calls";
import { EVERYTHING, type FilterForm, isFiltered, scoreOf } from "./filter";

interface Props {
  readonly form: FilterForm;
  readonly people: readonly PersonFigures[];
  onForm(form: FilterForm): void;
}

const CHOICES_SECONDS = 60;

export function GalleryFilters({ form, people, onForm }: Props) {
  const names = useId();
  const phraseList = useId();
  const prefix = form.phrase.trim();
  const suggested = useQuery({
    queryKey: ["phrases", prefix],
    queryFn: ({ signal }) => phrases(prefix, signal),
    staleTime: CHOICES_SECONDS * 1000,
  });
  const serving = useQuery({ queryKey: ["models"], queryFn: models, staleTime: CHOICES_SECONDS * 1000 });
  const set = (what: Partial<FilterForm>): void => onForm({ ...form, ...what });
  const weights = [...new Set((serving.data?.items ?? []).flatMap((model) => [model.name, model.weights]))];
  const unknown = form.annotator && !people.some((person) => person.annotator === form.annotator);

  return (
    <search className="gallery-filters">
      <label className="grow">
        Phrase
        <input
          type="search"
          value={form.phrase}
          maxLength={120}
          list={phraseList}
          placeholder="any"
          onChange={(event) => set({ phrase: event.target.value })}
        />
        <datalist id={phraseList}>
          {suggested.data?.map((known) => (
            <option key={known.phrase} value={known.phrase} />
          ))}
        </datalist>
      </label>
      <label>
        Polarity
        <select
          value={form.polarity}
          onChange={(event) => set({ polarity: event.target.value as FilterForm["polarity"] })}
        >
          <option value="">any</option>
          <option value="positive">positive</option>
          <option value="negative">negative</option>
        </select>
      </label>
      <label>
        Verdict
        <select
          value={form.verdict}
          onChange={(event) => set({ verdict: event.target.value as FilterForm["verdict"] })}
        >
          <option value="">any</option>
          <option value="accept">accepted</option>
          <option value="review">to people</option>
          <option value="reject">rejected</option>
        </select>
      </label>
      <fieldset>
        <legend>Score</legend>
        <Score label="Least score" value={form.least} onValue={(least) => set({ least })} />
        <span aria-hidden="true">to</span>
        <Score label="Highest score" value={form.most} onValue={(most) => set({ most })} />
      </fieldset>
      <label>
        Model
        <input
          type="search"
          value={form.model}
          maxLength={200}
          list={names}
          placeholder="any"
          onChange={(event) => set({ model: event.target.value })}
        />
        <datalist id={names}>
          {weights.map((name) => (
            <option key={name} value={name} />
          ))}
        </datalist>
      </label>
      <label>
        Person
        <select value={form.annotator} onChange={(event) => set({ annotator: event.target.value })}>
          <option value="">anyone</option>
          {people.map((person) => (
            <option key={person.annotator} value={person.annotator}>
              {person.name}
            </option>
          ))}
          {unknown && <option value={form.annotator}>{form.annotator}</option>}
        </select>
      </label>
      <button
        type="button"
        className="button"
        disabled={!isFiltered(form)}
        onClick={() => onForm(EVERYTHING)}
      >
        Clear
      </button>
    </search>
  );
}

function Score({ label, value, onValue }: { label: string; value: string; onValue(value: string): void }) {
  return (
    <input
      type="number"
      aria-label={label}
      min={0}
      max={1}
      step={0.05}
      placeholder={label.startsWith("Least") ? "0" : "1"}
      value={value}
      aria-invalid={value !== "" && scoreOf(value) === null}
      onChange={(event) => onValue(event.target.value)}
    />
  );
}
