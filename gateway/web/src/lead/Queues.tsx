import type { Queues } from "../api/types";
import { whole } from "./format";

const TYPES: Record<string, string> = {
  annotate: "Annotate",
  review: "Review",
  negative: "Confirm absent",
  exhaustivity: "Second look",
  audit: "Audit",
  adjudicate: "Adjudicate",
};

/** What waits for people, by type. */
export function QueueDepths({ found }: { found: Queues }) {
  if (found.queues.length === 0) {
    return <p className="nothing">No task was ever made. Tasks come where the models are in doubt.</p>;
  }
  return (
    <table className="figures">
      <thead>
        <tr>
          <th scope="col">Type</th>
          <th scope="col">Waiting</th>
          <th scope="col">Held</th>
          <th scope="col">Decided</th>
        </tr>
      </thead>
      <tbody>
        {found.queues.map((queue) => (
          <tr key={queue.type}>
            <th scope="row">{TYPES[queue.type] ?? queue.type}</th>
            <td className={queue.waiting > 0 ? "strong" : ""}>{whole(queue.waiting)}</td>
            <td>{whole(queue.leased)}</td>
            <td>{whole(queue.decided)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Why tasks wait; a task with several reasons counts under each. */
export function Reasons({ found }: { found: Queues }) {
  const reasons = Object.entries(found.waiting_by_reason).sort(
    ([first, many], [second, more]) => more - many || first.localeCompare(second),
  );
  if (reasons.length === 0) return <p className="nothing">Nothing waits for people.</p>;
  const most = Math.max(1, ...reasons.map(([, count]) => count));
  return (
    <ul className="bars">
      {reasons.map(([reason, count]) => (
        <li key={reason}>
          <span className="what">{reason}</span>
          <span className="figure">{whole(count)}</span>
          <svg viewBox="0 0 100 3" preserveAspectRatio="none" aria-hidden="true">
            <rect width="100" height="3" className="track" />
            <rect width={(100 * count) / most} height="3" className="bar" />
          </svg>
        </li>
      ))}
    </ul>
  );
}
