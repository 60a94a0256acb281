import { expect, it } from "vitest";
import { comboOf, type KeyLike, partsOf } from "./combos";

function press(key: string, held: Partial<KeyLike> = {}): KeyLike {
  return { key, code: "", ctrlKey: false, metaKey: false, altKey: false, shiftKey: false, ...held };
}

it.each([
  [press("a"), "A"],
  [press("A", { shiftKey: true }), "Shift+A"],
  [press("Z", { ctrlKey: true, shiftKey: true }), "Ctrl+Shift+Z"],
  [press("z", { metaKey: true }), "Ctrl+Z"],
  [press("?", { shiftKey: true }), "?"],
  [press("Tab", { shiftKey: true }), "Shift+Tab"],
  [press(" ", { ctrlKey: true }), "Ctrl+Space"],
  [press("Delete"), "Del"],
  [press("ф", { code: "KeyA" }), "A"],
  [press("Shift", { shiftKey: true }), null],
])("%j is %s", (event, combo) => {
  expect(comboOf(event)).toBe(combo);
});

it("is split into its keys", () => {
  expect(partsOf("Ctrl+Shift+Z")).toEqual(["Ctrl", "Shift", "Z"]);
  expect(partsOf("+")).toEqual(["+"]);
  expect(partsOf("Ctrl++")).toEqual(["Ctrl", "+"]);
});
