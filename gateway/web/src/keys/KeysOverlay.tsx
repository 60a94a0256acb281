import { type KeyboardEvent, useState } from "react";
import { useStore } from "zustand";
import { Dialog } from "../ui/Dialog";
import { KeyCombo } from "../ui/Keys";
import { ACTIONS, type Action, CONTEXTS, type Context } from "./actions";
import { bindings, conflict, keysOf } from "./bindings";
import { comboOf } from "./combos";

/** All keys, each of which can be changed: press its button, then the new key. */
export function KeysOverlay({ onClose }: { onClose(): void }) {
  const { overrides, bind, reset } = useStore(bindings);
  const [changing, setChanging] = useState<string | null>(null);
  const [problem, setProblem] = useState<string | null>(null);

  const onKey = (event: KeyboardEvent, action: Action): void => {
    if (changing !== action.id) return;
    const combo = comboOf(event.nativeEvent);
    if (combo === null) return;
    event.preventDefault();
    event.stopPropagation();
    if (combo === "Esc" && action.id !== "everywhere.leave") {
      setChanging(null);
      return;
    }
    const taken = conflict(action, combo, overrides);
    setProblem(taken ? `${combo}: ${taken}` : null);
    if (taken) return;
    bind(action.id, [combo]);
    setChanging(null);
  };

  return (
    <Dialog title="Keys" wide onClose={onClose}>
      <p className="hint">
        Press a key's button and then the key that you would rather have. Kept in this browser.
        <button
          type="button"
          className="quiet"
          onClick={reset}
          disabled={Object.keys(overrides).length === 0}
        >
          Reset all
        </button>
      </p>
      <p className="problem" role="alert">
        {problem}
      </p>
      <div className="key-groups">
        {(Object.keys(CONTEXTS) as Context[]).map((context) => (
          <section key={context}>
            <h3>{CONTEXTS[context]}</h3>
            <ul>
              {ACTIONS.filter((action) => action.context === context).map((action) => (
                <li key={action.id}>
                  <span>{action.label}</span>
                  <button
                    type="button"
                    className="key-button"
                    data-key-of={action.id}
                    aria-label={`${action.label}: ${keysOf(action, overrides).join(" or ")}. Change`}
                    onClick={() => setChanging(action.id)}
                    onBlur={() => setChanging(null)}
                    onKeyDown={(event) => onKey(event, action)}
                  >
                    {changing === action.id
                      ? "press a key…"
                      : keysOf(action, overrides).map((combo) => <KeyCombo key={combo} combo={combo} />)}
                  </button>
                </li>
              ))}
              {(context === "review" || context === "annotate") && (
                <li>
                  <span>Phrase of that number</span>
                  <span className="key-button fixed">
                    <KeyCombo combo="1" />…<KeyCombo combo="9" />
                  </span>
                </li>
              )}
            </ul>
          </section>
        ))}
      </div>
    </Dialog>
  );
}
