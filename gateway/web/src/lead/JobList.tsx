import type { Job } from "../api/types";
import { percent, stageName, stageShort, whole } from "./format";
import { processed, remarksOf, sharesOf, statusOf, told } from "./progress";

interface Props {
  readonly jobs: readonly Job[];
  readonly chosen: string | null;
  readonly more: boolean;
  onChoose(jobId: string | null): void;
  onMore(): void;
}

/** The jobs, newest first, each with how far it is. One of them, or all, is what the rest of the page is about. */
export function JobList({ jobs, chosen, more, onChoose, onMore }: Props) {
  return (
    <nav className="jobs" data-region="jobs" aria-label="Jobs">
      <button
        type="button"
        className="job every"
        aria-current={chosen === null}
        onClick={() => onChoose(null)}
      >
        All jobs
      </button>
      {jobs.map((job) => (
        <button
          key={job.id}
          type="button"
          className="job"
          data-job={job.id}
          data-status={job.status}
          aria-current={job.id === chosen}
          onClick={() => onChoose(job.id)}
        >
          <span className="job-head">
            <span className="job-name">{job.name || job.id}</span>
            <span className="figure">
              {whole(processed(job))}
              <span className="faint">/{whole(job.images)}</span>
            </span>
          </span>
          <Progress job={job} />
          <span className="job-foot">
            <span className={`status ${job.status}`}>{statusOf(job)}</span>
            {remarksOf(job).map((remark) => (
              <span key={remark} className="remark">
                {remark}
              </span>
            ))}
          </span>
          <span className="job-foot faint" title={stageName(job.stage)}>
            {stageShort(job.stage)}
            {" · "}
            {new Date(job.submitted_at).toLocaleString(undefined, {
              dateStyle: "medium",
              timeStyle: "short",
            })}
          </span>
        </button>
      ))}
      {more && (
        <button type="button" className="button" onClick={onMore}>
          Older jobs
        </button>
      )}
    </nav>
  );
}

function Progress({ job }: { job: Job }) {
  let at = 0;
  const parts = sharesOf(job).map((share) => {
    const part = { ...share, x: at * 100 };
    at += share.share;
    return part;
  });
  return (
    <svg
      className="progress"
      viewBox="0 0 100 6"
      preserveAspectRatio="none"
      role="img"
      aria-label={told(job)}
    >
      <title>{`${told(job)} (${percent(job.images > 0 ? processed(job) / job.images : 0)})`}</title>
      <rect width="100" height="6" className="track" />
      {parts.map(({ part, x, share }) => (
        <rect key={part} x={x} width={share * 100} height="6" className={part} />
      ))}
    </svg>
  );
}
