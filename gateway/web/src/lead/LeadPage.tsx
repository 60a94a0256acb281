import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { type ReactNode, useId, useState } from "react";
import { wording } from "../api/problem";
import type { Queues } from "../api/types";
import { lag, queuesOf, statistics } from "./calls";
import { PeopleTable, StageTable, Summary } from "./Figures";
import { EVERYTHING, type FilterForm } from "./filter";
import { plural } from "./format";
import { Gallery } from "./Gallery";
import { Histogram } from "./Histogram";
import { JobList } from "./JobList";
import { LagTable } from "./LagTable";
import { QueueDepths, Reasons } from "./Queues";
import { useJobs } from "./useJobs";
import "./lead.css";

const FIGURES_MS = 10_000;
const QUEUES_MS = 5_000;
const SPANS: readonly [label: string, hours: number | null][] = [
  ["all time", null],
  ["last 7 days", 168],
  ["last 24 hours", 24],
  ["last hour", 1],
];

type View = "figures" | "gallery";

/** What a lead looks at: the jobs, and of one of them or all the figures, the queues, and the pairs themselves. */
export default function LeadPage() {
  const { jobs, hasNextPage, fetchNextPage, isPending, isError, error } = useJobs();
  const [jobId, setJobId] = useState<string | null>(null);
  const [hours, setHours] = useState<number | null>(null);
  const [view, setView] = useState<View>("figures");
  const [form, setForm] = useState<FilterForm>(EVERYTHING);
  const found = useQuery({
    queryKey: ["statistics", jobId, hours],
    queryFn: () => statistics(jobId, hours),
    refetchInterval: FIGURES_MS,
    placeholderData: keepPreviousData,
  });
  const queues = useQuery({
    queryKey: ["queues", jobId],
    queryFn: () => queuesOf(jobId),
    refetchInterval: QUEUES_MS,
    placeholderData: keepPreviousData,
  });
  const lags = useQuery({ queryKey: ["lag"], queryFn: lag, refetchInterval: QUEUES_MS });
  const job = jobs.find((other) => other.id === jobId) ?? null;

  if (isPending) return <main className="waiting" aria-busy="true" aria-label="Looking for jobs" />;
  if (isError && jobs.length === 0) {
    return (
      <main className="message">
        <h1>The jobs cannot be shown now</h1>
        <p role="alert">{wording(error)} Trying again by itself.</p>
      </main>
    );
  }
  if (jobs.length === 0) return <NoJobs />;

  // The gallery shows one job: with all of them chosen, the newest.
  const shown = job ?? jobs[0] ?? null;
  const look = (what: Partial<FilterForm>): void => {
    if (!job && shown) setJobId(shown.id);
    setForm({ ...EVERYTHING, ...what });
    setView("gallery");
  };
  const choose = (id: string | null): void => {
    setJobId(id);
    if (id === null) setView("figures");
  };
  const people = found.data?.people ?? [];
  const stale = found.isPlaceholderData || queues.isPlaceholderData;

  return (
    <main className="lead">
      <JobList
        jobs={jobs}
        chosen={jobId}
        more={hasNextPage}
        onChoose={choose}
        onMore={() => void fetchNextPage()}
      />
      <div className="lead-body" data-region="lead" aria-busy={stale}>
        <header className="lead-head">
          <h1>{job ? job.name || job.id : "All jobs"}</h1>
          <div className="views" role="tablist" aria-label="What is shown">
            <Tab name="figures" label="Figures" view={view} onView={setView} />
            <Tab
              name="gallery"
              label="Gallery"
              view={view}
              onView={(next) => {
                if (!job && shown) setJobId(shown.id);
                setView(next);
              }}
            />
          </div>
          {view === "figures" && (
            <label className="span">
              <span className="visually-hidden">Time</span>
              <select
                value={hours ?? ""}
                onChange={(event) => setHours(event.target.value ? Number(event.target.value) : null)}
              >
                {SPANS.map(([label, value]) => (
                  <option key={label} value={value ?? ""}>
                    {label}
                  </option>
                ))}
              </select>
            </label>
          )}
        </header>
        {view === "gallery" ? (
          <Gallery key={jobId} job={job} form={form} people={people} onForm={setForm} />
        ) : (
          <div className="figures-view">
            {found.isError && (
              <p className="problem" role="alert">
                {wording(found.error)}
              </p>
            )}
            {found.data && (
              <>
                <Summary found={found.data} />
                <Panel
                  title="Scores"
                  hint={job ? "choose a bar to see its pairs" : "of all jobs"}
                  wide={false}
                >
                  <Histogram
                    scores={found.data.scores}
                    thresholds={found.data.thresholds}
                    onBin={
                      job ? (from, to) => look({ least: from.toFixed(2), most: to.toFixed(2) }) : undefined
                    }
                  />
                </Panel>
              </>
            )}
            <Panel title="Queues" wide={false}>
              {queues.data ? <QueueDepths found={queues.data} /> : <Pending error={queues.error} />}
            </Panel>
            {found.data && (
              <>
                <Panel title="Stages" wide>
                  <StageTable found={found.data} />
                </Panel>
                <Panel title="People" wide>
                  <PeopleTable
                    people={people}
                    onPerson={job ? (annotator) => look({ annotator }) : undefined}
                  />
                </Panel>
              </>
            )}
            <Panel title="Why tasks wait" hint={waiting(queues.data)} wide={false}>
              {queues.data ? <Reasons found={queues.data} /> : <Pending error={queues.error} />}
            </Panel>
            <Panel title="Lag" hint="of the services, for all jobs" wide={false}>
              {lags.data ? <LagTable found={lags.data} /> : <Pending error={lags.error} />}
            </Panel>
          </div>
        )}
      </div>
    </main>
  );
}

function Tab({
  name,
  label,
  view,
  onView,
}: {
  name: View;
  label: string;
  view: View;
  onView(view: View): void;
}) {
  return (
    <button type="button" role="tab" aria-selected={view === name} onClick={() => onView(name)}>
      {label}
    </button>
  );
}

interface PanelProps {
  readonly title: string;
  readonly hint?: string | undefined;
  readonly wide: boolean;
  readonly children: ReactNode;
}

function Panel({ title, hint, wide, children }: PanelProps) {
  const name = useId();
  return (
    <section className={wide ? "tile wide" : "tile"} aria-labelledby={name}>
      <h2 id={name}>
        {title}
        {hint && <span className="tile-hint">{hint}</span>}
      </h2>
      <div className="tile-body">{children}</div>
    </section>
  );
}

function Pending({ error }: { error: unknown }) {
  return error ? <p className="problem">{wording(error)}</p> : <p className="nothing">Looking…</p>;
}

function waiting(found: Queues | undefined): string {
  const count = found?.queues.reduce((sum, queue) => sum + queue.waiting, 0) ?? 0;
  return count > 0 ? plural(count, "task") : "";
}

function NoJobs() {
  return (
    <main className="message">
      <h1>No jobs yet</h1>
      <p>
        Submit a folder of pictures by <code>tercet submit ./pictures</code>, by the Python client, or by{" "}
        <code>POST /v1/jobs</code>. The job appears here by itself.
      </p>
    </main>
  );
}
