import type { Lag } from "../api/schema";
import { duration, whole } from "./format";
import { byTopic, stateOf } from "./lags";

/** How far every service is behind on every topic. */
export function LagTable({ found }: { found: Lag }) {
  const lags = byTopic(found.items);
  if (lags.length === 0)
    return <p className="nothing">No service reads yet. They begin a few seconds after their start.</p>;
  return (
    <table className="figures lag">
      <thead>
        <tr>
          <th scope="col">Topic</th>
          <th scope="col" className="words">
            Read by
          </th>
          <th scope="col">Unread</th>
          <th scope="col">Oldest</th>
          <th scope="col" className="words">
            State
          </th>
        </tr>
      </thead>
      <tbody>
        {lags.map((lag) => {
          const state = stateOf(lag);
          return (
            <tr key={`${lag.topic} ${lag.group}`} data-state={state}>
              <th scope="row">{lag.topic}</th>
              <td className="words">{lag.group}</td>
              <td className={lag.records > 0 ? "strong" : ""}>{whole(lag.records)}</td>
              <td>{lag.records > 0 ? duration(lag.seconds) : ""}</td>
              <td className="words state">{state}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}
