import { useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import type { JobPage } from "../api/schema";
import type { Job } from "../api/types";
import { listJobs } from "./calls";
import { watchJob } from "./events";

const KEY = ["jobs"] as const;
const LOOK_MS = 5_000;
// A browser opens six connections to a server (HTTP/1.1): the streams must leave some to everything else.
const MOST_WATCHED = 2;

interface Pages {
  readonly pages: JobPage[];
  readonly pageParams: string[];
}

/** The jobs, newest first. The newest running ones tell every change themselves; the others are asked again. */
export function useJobs() {
  const client = useQueryClient();
  const found = useInfiniteQuery({
    queryKey: KEY,
    queryFn: ({ pageParam }) => listJobs(pageParam),
    initialPageParam: "",
    getNextPageParam: (last: JobPage) => last.next_page_token ?? undefined,
    refetchInterval: LOOK_MS,
  });
  const jobs = found.data?.pages.flatMap((page) => page.items) ?? [];
  const running = jobs.filter((job) => job.status === "running").slice(0, MOST_WATCHED);
  const watched = running.map((job) => job.id).join(" ");

  useEffect(() => {
    const leaving = new AbortController();
    const put = (job: Job): void => {
      client.setQueryData<Pages>(
        KEY,
        (before) => before && { ...before, pages: replaced(before.pages, job) },
      );
    };
    for (const id of watched.split(" ").filter(Boolean)) {
      // Where the stream breaks off, the list is still asked again and again.
      watchJob(id, put, leaving.signal).catch(() => undefined);
    }
    return () => leaving.abort();
  }, [client, watched]);

  return { ...found, jobs };
}

function replaced(pages: readonly JobPage[], job: Job): JobPage[] {
  return pages.map((page) => ({ ...page, items: page.items.map((old) => (old.id === job.id ? job : old)) }));
}
