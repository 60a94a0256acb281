import { KeyCombo } from "../ui/Keys";
import type { PhraseRow } from "./phrases";

const DECIDED: Record<string, string> = { accept: "accepted", reject: "rejected", edit: "edited" };

interface Props {
  readonly rows: readonly PhraseRow[];
  readonly pairKey: string;
  readonly taskId: string;
  onRow(index: number): void;
}

export function PhraseList({ rows, pairKey, taskId, onRow }: Props) {
  return (
    <ol className="phrases">
      {rows.map((row, index) => {
        const current = row.taskId === taskId && row.pairKey === pairKey;
        return (
          <li key={`${row.pairKey ?? ""} ${row.phrase}`}>
            <button
              type="button"
              className="phrase-row"
              aria-current={current ? "true" : undefined}
              disabled={!row.taskId}
              title={
                row.taskId
                  ? undefined
                  : "Not among your tasks: decided, accepted by the models, or another person's"
              }
              onMouseDown={(event) => event.preventDefault()}
              onClick={() => onRow(index)}
            >
              {index < 9 && row.taskId ? <KeyCombo combo={String(index + 1)} /> : <span className="no-key" />}
              <span className={row.polarity === "negative" ? "phrase negative" : "phrase"}>
                {row.polarity === "negative" && <span className="sign">not</span>}
                {row.phrase}
              </span>
              {row.decided ? (
                <span className="state">{DECIDED[row.decided]}</span>
              ) : (
                row.score !== null && (
                  <span className={`verdict ${row.verdict ?? "none"}`}>
                    <span className="figure">{row.score.toFixed(2)}</span>
                    <span className="visually-hidden"> {row.verdict ?? ""}</span>
                  </span>
                )
              )}
            </button>
          </li>
        );
      })}
    </ol>
  );
}
