import type { Combo } from "./combos";

export interface Action {
  /** `context.name`. */
  readonly id: string;
  readonly context: Context;
  readonly label: string;
  readonly keys: readonly Combo[];
}

/** Where keys count. The later a context is entered, the earlier it is asked. */
export type Context = "everywhere" | "image" | "review" | "edit" | "annotate" | "check" | "adjudicate";

export const CONTEXTS: Record<Context, string> = {
  everywhere: "Everywhere",
  image: "Image",
  review: "Review",
  edit: "Edit a mask",
  annotate: "Annotate",
  check: "Check",
  adjudicate: "Adjudicate",
};

function group(context: Context, actions: Record<string, [label: string, ...keys: Combo[]]>): Action[] {
  return Object.entries(actions).map(([name, [label, ...keys]]) => ({
    id: `${context}.${name}`,
    context,
    label,
    keys,
  }));
}

/** All that can be done by a key, with the keys that it has unless a person chooses others. */
export const ACTIONS: readonly Action[] = [
  ...group("everywhere", {
    keys: ["Show all keys", "?"],
    next: ["Next task", "F"],
    previous: ["Previous task", "D"],
    undo: ["Undo", "Ctrl+Z"],
    redo: ["Redo", "Ctrl+Shift+Z", "Ctrl+Y"],
    submit: ["Submit as it is", "Ctrl+Enter"],
    skip: ["Leave the task to others", "Shift+S"],
    region: ["Next part of the page", "F6"],
    leave: ["Leave: selection, tool, dialog", "Esc"],
  }),
  ...group("image", {
    zoomIn: ["Zoom in", "+", "="],
    zoomOut: ["Zoom out", "-"],
    fit: ["Whole image", "0"],
    closeUp: ["Close up on the object", "Z"],
    hide: ["Hide or show masks", "H"],
    nextObject: ["Next object", "Tab"],
    previousObject: ["Previous object", "Shift+Tab"],
    left: ["Pan or move the cursor left", "Left"],
    right: ["… right", "Right"],
    up: ["… up", "Up"],
    down: ["… down", "Down"],
    farLeft: ["… far left", "Shift+Left"],
    farRight: ["… far right", "Shift+Right"],
    farUp: ["… far up", "Shift+Up"],
    farDown: ["… far down", "Shift+Down"],
  }),
  ...group("review", {
    accept: ["Accept the pair", "A", "Enter"],
    reject: ["Reject the object, or the pair", "R", "Ctrl+Space"],
    rejectPair: ["Reject the pair", "Shift+R"],
    absent: ["Not in the image: a verified negative", "X"],
    complete: ["All instances marked: yes or no", "M"],
    remove: ["Remove the object", "Del", "Backspace"],
    edit: ["Edit the masks", "E"],
    add: ["Add a missing instance", "N"],
    phrase: ["Add a missing phrase", "P"],
  }),
  ...group("edit", {
    click: ["Click: the model answers", "C", "S"],
    box: ["Box: the model answers", "X"],
    brush: ["Brush", "B"],
    eraser: ["Eraser", "E"],
    polygon: ["Polygon", "G"],
    act: ["Use the tool at the cursor", "Space"],
    actAgainst: ["… as “not this”", "Shift+Space"],
    finish: ["Close the polygon; done", "Enter"],
    smaller: ["Smaller brush", "["],
    larger: ["Larger brush", "]"],
    add: ["New instance", "N"],
    remove: ["Remove the instance", "Del", "Backspace"],
  }),
  ...group("annotate", {
    label: ["Label the region", "L", "Enter"],
    edit: ["Edit the mask", "E"],
    add: ["Add a missing instance", "N"],
    remove: ["Drop the region", "Del", "Backspace"],
    complete: ["All instances marked: yes or no", "M"],
    confirm: ["Negative: confirm it is absent", "Y"],
    refuse: ["Negative: refuse it", "X"],
    suggest: ["Suggest hard negatives", "W"],
  }),
  ...group("check", {
    accept: ["Right and complete", "A", "Enter"],
    missing: ["One is missing at the cursor", "M"],
    wrong: ["Wrong", "R", "Ctrl+Space"],
    remove: ["Take the object out", "Del", "Backspace"],
    add: ["Draw what is missing", "N"],
    edit: ["Edit the masks", "E"],
  }),
  ...group("adjudicate", {
    use: ["Send the version of record", "A", "Enter"],
    nextPhrase: ["Next phrase", "Tab"],
    previousPhrase: ["Previous phrase", "Shift+Tab"],
  }),
];

/** Phrases are chosen by their number. */
export const PHRASE_KEYS = ["1", "2", "3", "4", "5", "6", "7", "8", "9"] as const;
