import { useLayoutEffect, useRef } from "react";
import { type Context, PHRASE_KEYS } from "./actions";
import { actionFor, bindings } from "./bindings";
import { comboOf } from "./combos";

/** What the actions of a context do, by name; `false` passes the key on to the contexts below. */
export type Handlers = Record<string, (() => unknown) | undefined>;

interface Layer {
  readonly context: Context;
  readonly handlers: () => Handlers;
  readonly onDigit: () => ((index: number) => void) | undefined;
}

const layers: Layer[] = [];
let blocked = 0;

/**
 * Keys of a context count while the component is there, before those of contexts entered earlier. In text fields and
 * open dialogs they do not; where a control outside of the canvas has the focus, Tab, Enter, Space and the arrows are
 * the browser's, so that all can be reached by keyboard as on any page.
 */
export function useKeys(
  context: Context,
  handlers: Handlers,
  options: { active?: boolean; onDigit?: (index: number) => void } = {},
): void {
  const current = useRef(handlers);
  const digits = useRef(options.onDigit);
  current.current = handlers;
  digits.current = options.onDigit;
  const active = options.active ?? true;
  // In the same step as what is shown: a key pressed right after a change of the task must not fall between.
  useLayoutEffect(() => {
    if (!active) return;
    const layer: Layer = { context, handlers: () => current.current, onDigit: () => digits.current };
    layers.push(layer);
    return () => {
      layers.splice(layers.indexOf(layer), 1);
    };
  }, [context, active]);
}

/** While a dialog is open, the page's keys sleep. */
export function useBlockedKeys(): void {
  useLayoutEffect(() => {
    blocked += 1;
    return () => {
      blocked -= 1;
    };
  }, []);
}

const NATIVE = new Set(["Tab", "Shift+Tab", "Enter", "Space", "Left", "Right", "Up", "Down"]);

function onKey(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.isComposing || blocked > 0) return;
  const combo = comboOf(event);
  if (combo === null) return;
  const target = event.target instanceof Element ? event.target : document.body;
  if (target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) {
    if (combo !== "Ctrl+Enter") return;
  }
  const control = target.closest("button, a, input, summary, [role=option], [role=slider]");
  if (control && NATIVE.has(combo)) return;
  const { overrides } = bindings.getState();
  for (const layer of [...layers].reverse()) {
    const digit = (PHRASE_KEYS as readonly string[]).indexOf(combo);
    const onDigit = layer.onDigit();
    if (digit >= 0 && onDigit) {
      event.preventDefault();
      onDigit(digit);
      return;
    }
    const action = actionFor(combo, layer.context, overrides);
    const name = action?.id.slice(action.id.indexOf(".") + 1);
    const run = name === undefined ? undefined : layer.handlers()[name];
    if (run && run() !== false) {
      event.preventDefault();
      return;
    }
  }
}

/** Called once by the page. */
export function listenToKeys(): void {
  window.addEventListener("keydown", onKey);
}
