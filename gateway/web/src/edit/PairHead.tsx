import type { ReactNode } from "react";
import type { ReviewTask } from "../api/types";
import type { WorkPair } from "./work";

interface Props {
  readonly task: ReviewTask;
  readonly pair: WorkPair;
  /** Facts before those that every pair has. */
  readonly facts?: ReactNode;
  readonly children?: ReactNode;
}

/** The phrase in question, and why it is. */
export function PairHead({ task, pair, facts, children }: Props) {
  return (
    <>
      <h1 data-testid="phrase">{pair.phrase}</h1>
      <p className="facts">
        {facts}
        {pair.polarity === "negative" && (
          <span className="tag">{pair.hardNegative ? "hard negative" : "negative"}</span>
        )}
        <span className="muted">{task.image.name}</span>
      </p>
      {children}
      {task.reasons.length > 0 && (
        <ul className="reasons" aria-label="Why it is here">
          {task.reasons.map((reason) => (
            <li key={reason}>{reason}</li>
          ))}
        </ul>
      )}
    </>
  );
}
