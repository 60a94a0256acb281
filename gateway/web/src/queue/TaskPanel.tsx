import type { ReactNode } from "react";
import { useStore } from "zustand";
import { ActionButton } from "../ui/Keys";
import { Comments, Word } from "./Comments";
import type { Held } from "./desk";
import { FilterButton } from "./FilterButton";
import { type Outcome, outbox } from "./outbox";
import type { Tasks } from "./TasksPage";

interface Props extends Tasks {
  readonly held: Held;
  /** For screen readers. */
  readonly label: string;
  /** What the person is asked. */
  readonly question: string;
  readonly head: ReactNode;
  readonly children: ReactNode;
  /** The buttons of a task that is not decided. */
  readonly actions: ReactNode;
  /** What the person writes with the decision. */
  readonly word: { readonly value: string; onChange(value: string): void };
  /** What became of one that is: "Accepted". */
  readonly past: string;
  undo(): unknown;
}

/** The panel beside the image: the question, what there is to know, and the buttons that decide. */
export function TaskPanel({ desk, types, filter, onFilter, held, ...props }: Props) {
  const { items, undoing } = useStore(desk.store);
  const outcome = useStore(outbox, (state) => state.outcomes[held.task.id]);
  const at = items.findIndex((other) => other.task.id === held.task.id);
  return (
    <aside className="panel" data-region="panel" aria-label={props.label}>
      <div className="panel-scroll">
        <header className="task-head">
          <p className="eyebrow">
            {props.question}
            <span className="spring" />
            <span className="place">
              {at + 1} of {items.length}
            </span>
            <FilterButton filter={filter} onFilter={onFilter} types={types} />
          </p>
          {props.head}
        </header>
        <Comments comments={held.comments ?? []} wholeImage={!held.task.pair} />
        {props.children}
        <Word {...props.word} disabled={held.decided !== null} />
      </div>
      {held.decided ? (
        <footer className="actions" data-testid="decided">
          <p className="decided">
            {props.past} · <Standing outcome={outcome} />
          </p>
          <ActionButton
            action="everywhere.undo"
            label="Undo last decision"
            disabled={undoing}
            run={props.undo}
          />
        </footer>
      ) : (
        <footer className="actions">{props.actions}</footer>
      )}
    </aside>
  );
}

function Standing({ outcome }: { outcome: Outcome | undefined }) {
  if (outcome?.standing === "refused") return <span className="problem">not saved: {outcome.reason}</span>;
  return outcome?.standing === "saving" ? "saving…" : "saved";
}
