/** The gallery's filter as its form has it: everything is text until it is asked for. */

import type { Polarity } from "../api/types";
import type { PairFilter, Verdict } from "./calls";

export interface FilterForm {
  readonly phrase: string;
  readonly polarity: "" | Polarity;
  readonly verdict: "" | Verdict;
  readonly least: string;
  readonly most: string;
  readonly model: string;
  readonly annotator: string;
}

export const EVERYTHING: FilterForm = {
  phrase: "",
  polarity: "",
  verdict: "",
  least: "",
  most: "",
  model: "",
  annotator: "",
};

/** What is asked of the server. A number that is none, or out of 0..1, does not count. */
export function filterOf(form: FilterForm): PairFilter {
  const least = scoreOf(form.least);
  const most = scoreOf(form.most);
  const phrase = form.phrase.trim();
  const model = form.model.trim();
  return {
    ...(phrase ? { phrase } : {}),
    ...(form.polarity ? { polarity: form.polarity } : {}),
    ...(form.verdict ? { verdict: form.verdict } : {}),
    ...(least !== null ? { minScore: least } : {}),
    ...(most !== null ? { maxScore: most } : {}),
    ...(model ? { model } : {}),
    ...(form.annotator ? { annotator: form.annotator } : {}),
  };
}

export function scoreOf(text: string): number | null {
  const trimmed = text.trim();
  if (!trimmed) return null;
  const value = Number(trimmed);
  return Number.isFinite(value) && value >= 0 && value <= 1 ? value : null;
}

export function isFiltered(form: FilterForm): boolean {
  return Object.keys(filterOf(form)).length > 0;
}
