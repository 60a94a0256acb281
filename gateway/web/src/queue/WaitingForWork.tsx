import { useStore } from "zustand";
import { useKeys } from "../keys/useKeys";
import { ActionButton } from "../ui/Keys";
import { FilterButton } from "./FilterButton";
import type { Tasks } from "./TasksPage";

/** Shown while there is no task. The desk goes on looking by itself. */
export function WaitingForWork({ desk, filter, types, onFilter }: Tasks) {
  const { items, empty, problem, undoing } = useStore(desk.store);
  const undo = (): void => void desk.undo();
  useKeys("everywhere", { undo });
  if (!empty && !problem) return <main className="waiting" aria-busy="true" aria-label="Looking for work" />;
  const filtered = Boolean(filter.jobId || filter.phrase || filter.types.length < types.length);
  return (
    <main className="message">
      {problem ? (
        <>
          <h1>No work can be fetched now</h1>
          <p role="alert">{problem} Trying again by itself.</p>
        </>
      ) : (
        <>
          <h1>{filtered ? "Nothing fits the filter" : "All done for now"}</h1>
          <p>New tasks appear here by themselves.</p>
        </>
      )}
      <div className="row">
        {items.some((held) => held.decided) && (
          <ActionButton action="everywhere.undo" label="Undo last decision" disabled={undoing} run={undo} />
        )}
        <FilterButton filter={filter} types={types} onFilter={onFilter} />
      </div>
    </main>
  );
}
