import { createStore } from "zustand/vanilla";
import { ACTIONS, type Action, type Context, PHRASE_KEYS } from "./actions";
import type { Combo } from "./combos";

const NAME = "tercet.keys";

type Overrides = Record<string, readonly Combo[]>;

interface Bindings {
  readonly overrides: Overrides;
  bind(actionId: string, keys: readonly Combo[]): void;
  reset(): void;
}

/** The keys that a person has chosen instead of the usual ones; kept in this browser. */
export const bindings = createStore<Bindings>()((set, get) => ({
  overrides: stored(),
  bind(actionId, keys) {
    const overrides = { ...get().overrides, [actionId]: keys };
    localStorage.setItem(NAME, JSON.stringify(overrides));
    set({ overrides });
  },
  reset() {
    localStorage.removeItem(NAME);
    set({ overrides: {} });
  },
}));

export function keysOf(action: Action, overrides: Overrides): readonly Combo[] {
  return overrides[action.id] ?? action.keys;
}

/** The action that a combination means in the context; null for none. */
export function actionFor(combo: Combo, context: Context, overrides: Overrides): Action | null {
  return (
    ACTIONS.find((action) => action.context === context && keysOf(action, overrides).includes(combo)) ?? null
  );
}

/** What else has the combination where the action counts: a key cannot mean two things. */
export function conflict(action: Action, combo: Combo, overrides: Overrides): string | null {
  if ((PHRASE_KEYS as readonly string[]).includes(combo)) return "numbers choose phrases";
  const other = ACTIONS.find(
    (candidate) =>
      candidate.id !== action.id &&
      (candidate.context === action.context || isShared(candidate) || isShared(action)) &&
      keysOf(candidate, overrides).includes(combo),
  );
  return other ? `“${other.label}” has it` : null;
}

/** Counts beside every other context. */
function isShared(action: Action): boolean {
  return action.context === "everywhere" || action.context === "image";
}

function stored(): Overrides {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(NAME) ?? "{}");
    if (typeof found !== "object" || found === null) return {};
    return Object.fromEntries(
      Object.entries(found).filter(
        ([id, keys]) =>
          ACTIONS.some((action) => action.id === id) &&
          Array.isArray(keys) &&
          keys.every((key) => typeof key === "string"),
      ),
    ) as Overrides;
  } catch {
    return {};
  }
}
