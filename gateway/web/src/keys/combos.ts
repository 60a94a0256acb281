/** A combination of keys as text: `Ctrl+Shift+Z`, `A`, `?`, `Space`. The modifiers are in the order of `MODIFIERS`. */
export type Combo = string;

const MODIFIERS = ["Ctrl", "Alt", "Shift"] as const;
const NAMES: Record<string, string> = {
  " ": "Space",
  ArrowLeft: "Left",
  ArrowRight: "Right",
  ArrowUp: "Up",
  ArrowDown: "Down",
  Escape: "Esc",
  Delete: "Del",
};
const ALONE = new Set(["Control", "Shift", "Alt", "Meta", "CapsLock", "Dead", "Process", "AltGraph"]);

export interface KeyLike {
  readonly key: string;
  readonly code: string;
  readonly ctrlKey: boolean;
  readonly metaKey: boolean;
  readonly altKey: boolean;
  readonly shiftKey: boolean;
}

/** The combination of a key event; null while only modifiers are down. Command counts as Ctrl. */
export function comboOf(event: KeyLike): Combo | null {
  if (ALONE.has(event.key)) return null;
  const letter = /^\p{L}$/u.test(event.key);
  let key = NAMES[event.key] ?? (letter ? event.key.toUpperCase() : event.key);
  // Other than Latin keyboards: the place of the key counts, as its letter cannot be bound by our defaults.
  if (letter && !/^[A-Z]$/.test(key) && /^Key[A-Z]$/.test(event.code)) key = event.code.slice(3);
  // Shift makes another character of a digit or a sign, and that character is the key.
  const shifted = event.shiftKey && (letter || key.length > 1);
  const held = [event.ctrlKey || event.metaKey, event.altKey, shifted];
  return [...MODIFIERS.filter((_, index) => held[index]), key].join("+");
}

/** The parts of a combination, to be shown each as a key. */
export function partsOf(combo: Combo): string[] {
  if (combo === "+") return ["+"];
  return combo.endsWith("++") ? [...combo.slice(0, -2).split("+"), "+"] : combo.split("+");
}
