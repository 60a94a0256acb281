import { type FormEvent, useState } from "react";
import type { LeaseFilter } from "../api/routes";
import type { TaskType } from "../api/types";
import { Dialog } from "../ui/Dialog";

interface Props {
  readonly filter: LeaseFilter;
  readonly types: readonly TaskType[];
  onFilter(filter: LeaseFilter): void;
}

const NAMES: Record<TaskType, string> = {
  annotate: "images to annotate",
  review: "pairs to review",
  negative: "negatives to confirm",
  exhaustivity: "second looks",
  audit: "audits",
  adjudicate: "disagreements",
};

/** Which tasks a person wants: by type, job and phrase. */
export function FilterButton({ filter, types, onFilter }: Props) {
  const [open, setOpen] = useState(false);
  const filtered = Boolean(filter.jobId || filter.phrase || filter.types.length < types.length);
  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const chosen = types.filter((type) => form.get(type) !== null);
    onFilter({
      types: chosen.length > 0 ? chosen : types,
      jobId: String(form.get("job") ?? "").trim() || undefined,
      phrase: String(form.get("phrase") ?? "").trim() || undefined,
    });
    setOpen(false);
  };
  const showAll = (): void => {
    onFilter({ types });
    setOpen(false);
  };
  return (
    <>
      <button type="button" className="quiet filter" aria-pressed={filtered} onClick={() => setOpen(true)}>
        {filtered ? "Filtered" : "Filter"}
      </button>
      {open && (
        <Dialog title="Which tasks" onClose={() => setOpen(false)}>
          <form className="form" onSubmit={submit}>
            {types.length > 1 &&
              types.map((type) => (
                <label key={type} className="check">
                  <input type="checkbox" name={type} defaultChecked={filter.types.includes(type)} />{" "}
                  {NAMES[type]}
                </label>
              ))}
            <label>
              Only of this phrase
              <input type="text" name="phrase" maxLength={120} defaultValue={filter.phrase ?? ""} />
            </label>
            <label>
              Only of this job
              <input
                type="text"
                name="job"
                maxLength={100}
                placeholder="job_…"
                defaultValue={filter.jobId ?? ""}
              />
            </label>
            <div className="row">
              <button type="submit" className="button primary">
                Show these
              </button>
              <button type="button" className="button" onClick={showAll}>
                Show all
              </button>
            </div>
          </form>
        </Dialog>
      )}
    </>
  );
}
