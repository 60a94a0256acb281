import { expect, test } from "vitest";
import { type EditorState, redone, stepped, undone } from "./state";
import { emptyPair } from "./work";

const START: EditorState = {
  work: { pairs: [emptyPair("own", "cup")] },
  pairKey: "own",
  selectedId: null,
  prompt: null,
  past: [],
  future: [],
  editing: false,
  tool: "click",
  radius: 4,
  gesture: null,
  typing: null,
  cursor: null,
  pointer: null,
  asking: false,
  hidden: false,
};

const after = (state: EditorState, what: Partial<EditorState> | null): EditorState => ({ ...state, ...what });

test("steps are taken back and made again in their order", () => {
  const first = after(START, stepped(START, { selectedId: "a" }));
  const second = after(first, stepped(first, { selectedId: "b" }));
  const back = after(second, undone(second));
  expect(back.selectedId).toBe("a");
  expect(after(back, redone(back)).selectedId).toBe("b");
  const begin = after(back, undone(back));
  expect(begin.selectedId).toBeNull();
  expect(undone(begin)).toBeNull();
});

test("a new step leaves nothing to be made again", () => {
  const first = after(START, stepped(START, { selectedId: "a" }));
  const back = after(first, undone(first));
  const other = after(back, stepped(back, { selectedId: "c" }));
  expect(redone(other)).toBeNull();
});

test("of a polygon one corner goes at a time, of another drawing all", () => {
  const corners = [
    { x: 1, y: 1 },
    { x: 5, y: 1 },
  ];
  const polygon = { ...START, gesture: { kind: "polygon", points: corners } as const };
  const once = after(polygon, undone(polygon));
  expect(once.gesture).toEqual({ kind: "polygon", points: corners.slice(0, 1) });
  expect(after(once, undone(once)).gesture).toBeNull();
  const stroke = { ...START, gesture: { kind: "stroke", points: corners, erase: false, radius: 2 } as const };
  expect(undone(stroke)).toEqual({ gesture: null });
});

test("drawing on forgets the steps that are too old", () => {
  let state = START;
  for (let step = 0; step < 250; step++) state = after(state, stepped(state, { selectedId: String(step) }));
  expect(state.past).toHaveLength(200);
});
