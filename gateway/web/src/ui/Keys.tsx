import { useStore } from "zustand";
import { ACTIONS } from "../keys/actions";
import { bindings, keysOf } from "../keys/bindings";
import { type Combo, partsOf } from "../keys/combos";

export function KeyCombo({ combo }: { combo: Combo }) {
  return (
    <span className="combo">
      {partsOf(combo).map((part) => (
        <kbd key={part}>{part}</kbd>
      ))}
    </span>
  );
}

/** The first key of an action, as the person has set it. */
export function KeyOf({ action: id }: { action: string }) {
  const overrides = useStore(bindings, (state) => state.overrides);
  const action = ACTIONS.find((candidate) => candidate.id === id);
  const combo = action && keysOf(action, overrides)[0];
  return combo ? <KeyCombo combo={combo} /> : null;
}

interface ActionButtonProps {
  readonly action: string;
  readonly label: string;
  readonly tone?: "primary" | "danger" | "plain";
  readonly disabled?: boolean;
  readonly pressed?: boolean;
  run(): unknown;
}

/** A button that shows its key. A click leaves the focus where it was, so that the keys go on working. */
export function ActionButton({ action, label, tone = "plain", disabled, pressed, run }: ActionButtonProps) {
  return (
    <button
      type="button"
      className={`button ${tone}`}
      disabled={disabled}
      aria-pressed={pressed}
      data-action={action}
      onPointerDown={(event) => event.preventDefault()}
      onMouseDown={(event) => event.preventDefault()}
      onClick={() => void run()}
    >
      <span>{label}</span>
      <KeyOf action={action} />
    </button>
  );
}
