/** The calls of the lead's page. */

import { answered, api } from "../api/client";
import type { GalleryPage, JobPage, Lag, ModelList, Queues, Statistics } from "../api/schema";
import type { Polarity } from "../api/types";

export type Verdict = "accept" | "review" | "reject";

/** What the gallery shows: every value that is given must fit. */
export interface PairFilter {
  readonly phrase?: string;
  readonly polarity?: Polarity;
  readonly verdict?: Verdict;
  readonly minScore?: number;
  readonly maxScore?: number;
  /** A model's name, or its weights. */
  readonly model?: string;
  /** A key's id. */
  readonly annotator?: string;
}

const JOBS_PAGE = 100;
const PAIRS_PAGE = 60;

export function listJobs(pageToken: string): Promise<JobPage> {
  return answered(
    api.GET("/v1/jobs", { params: { query: { page_size: JOBS_PAGE, page_token: pageToken } } }),
  );
}

export function statistics(jobId: string | null, hours: number | null): Promise<Statistics> {
  const query = { ...(jobId ? { job_id: jobId } : {}), ...(hours ? { hours } : {}) };
  return answered(api.GET("/v1/statistics", { params: { query } }));
}

export function queuesOf(jobId: string | null): Promise<Queues> {
  return answered(api.GET("/v1/reviews/queues", { params: { query: jobId ? { job_id: jobId } : {} } }));
}

export function lag(): Promise<Lag> {
  return answered(api.GET("/v1/lag", {}));
}

export function models(): Promise<ModelList> {
  return answered(api.GET("/v1/models", {}));
}

export function pairsOf(jobId: string, filter: PairFilter, cursor: string): Promise<GalleryPage> {
  const { phrase, polarity, verdict, minScore, maxScore, model, annotator } = filter;
  const query = {
    limit: PAIRS_PAGE,
    ...(cursor ? { cursor } : {}),
    ...(phrase ? { phrase } : {}),
    ...(polarity ? { polarity } : {}),
    ...(verdict ? { verdict } : {}),
    ...(minScore !== undefined ? { min_score: minScore } : {}),
    ...(maxScore !== undefined ? { max_score: maxScore } : {}),
    ...(model ? { model } : {}),
    ...(annotator ? { annotator } : {}),
  };
  return answered(api.GET("/v1/jobs/{job_id}/pairs", { params: { path: { job_id: jobId }, query } }));
}
