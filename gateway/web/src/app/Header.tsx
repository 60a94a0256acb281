import { Link, useLocation } from "wouter";
import { useStore } from "zustand";
import { outbox, retryNow } from "../queue/outbox";
import { Mark } from "../ui/Mark";
import type { PageEntry } from "./pages";
import { type Person, session } from "./session";

interface Props {
  readonly pages: readonly PageEntry[];
  readonly person: Person;
  onKeys(): void;
}

export function Header({ pages, person, onKeys }: Props) {
  const [location] = useLocation();
  return (
    <header className="header" data-region="header">
      <span className="brand">
        <Mark /> Tercet
      </span>
      <nav aria-label="Pages">
        {pages.map((page) => (
          <Link key={page.path} href={page.path} aria-current={location === page.path ? "page" : undefined}>
            {page.title}
          </Link>
        ))}
      </nav>
      <span className="spring" />
      <SaveState />
      <button type="button" className="quiet" onClick={onKeys}>
        Keys <kbd>?</kbd>
      </button>
      <span className="person" title={`${person.key_id} · ${person.roles.join(", ")}`}>
        {person.name}
      </span>
      <button type="button" className="quiet" onClick={() => session.getState().signOut()}>
        Sign out
      </button>
    </header>
  );
}

/** What has become of the decisions. "Saved" is said only of what the server has. */
function SaveState() {
  const { entries, outcomes, offline } = useStore(outbox);
  const saved = Object.values(outcomes).filter((outcome) => outcome.standing === "saved").length;
  if (offline && entries.length > 0) {
    return (
      <output className="saving offline">
        Offline: {entries.length} {entries.length === 1 ? "decision is" : "decisions are"} kept here
        <button type="button" className="quiet" onClick={retryNow}>
          Try now
        </button>
      </output>
    );
  }
  return (
    <output className="saving" data-saved={saved}>
      {entries.length > 0 ? `Saving ${entries.length}…` : saved > 0 ? `Saved · ${saved}` : ""}
    </output>
  );
}
