import type { ReactNode } from "react";
import { useStore } from "zustand";
import { geometryOf } from "../masks/geometry";
import { colourOf } from "../masks/palette";
import type { Editor } from "./editor";
import { type Instance, kept, type WorkPair } from "./work";

const CHOICES: Record<string, string> = {
  accept: "good mask",
  accept_as_text: "good, text",
  flag_label: "label in doubt",
  whole_image: "whole image",
  reject: "doubtful mask",
};

interface Props {
  readonly editor: Editor;
  readonly pair: WorkPair;
  /** Said where a pair that should have instances has none. */
  readonly empty: string;
  readonly writable: boolean;
  readonly children?: ReactNode;
}

/** The pair's instances by number, with what the models said about each. Of a negative: what was masked wrongly. */
export function ObjectSection({ editor, pair, empty, writable, children }: Props) {
  const absent = pair.polarity === "negative";
  return (
    <section>
      <h2>
        {absent ? "What the model took for it" : "Objects"}
        <span className="count">{absent ? "" : kept(pair).length}</span>
      </h2>
      {pair.instances.length > 0 ? (
        <ObjectList editor={editor} instances={pair.instances} writable={writable} absent={absent} />
      ) : (
        <p className="hint">{absent ? "Nothing." : empty}</p>
      )}
      {children}
    </section>
  );
}

interface ListProps {
  readonly editor: Editor;
  readonly instances: readonly Instance[];
  readonly writable: boolean;
  readonly absent: boolean;
}

function ObjectList({ editor, instances, writable, absent }: ListProps) {
  const selectedId = useStore(editor.store, (state) => state.selectedId);
  return (
    <ul className="objects">
      {instances.map((instance, index) => (
        <li key={instance.id} data-object={instance.id} data-dropped={instance.dropped && !absent}>
          <button
            type="button"
            className="object"
            aria-pressed={instance.id === selectedId}
            onMouseDown={(event) => event.preventDefault()}
            onClick={() => editor.select(instance.id === selectedId ? null : instance.id)}
          >
            <span className="swatch" style={{ background: colourOf(index) }} aria-hidden="true" />
            <span className="number">{index + 1}</span>
            <span className="what">
              {absent && instance.dropped ? "masked wrongly" : described(instance)}
            </span>
            {instance.made && instance.made.score > 0 && !instance.dropped && (
              <span className="figure">{instance.made.score.toFixed(2)}</span>
            )}
          </button>
          <button
            type="button"
            className="quiet"
            disabled={!writable}
            aria-label={`${instance.dropped ? "Take back" : "Take out"} object ${index + 1}`}
            onMouseDown={(event) => event.preventDefault()}
            onClick={() => editor.toggle(instance.id)}
          >
            {instance.dropped ? "↺" : "×"}
          </button>
        </li>
      ))}
    </ul>
  );
}

function described(instance: Instance): string {
  if (instance.dropped) return "taken out";
  if (!instance.rle) return instance.box ? "box only" : "draw it";
  if (instance.made && instance.made.rle.counts === instance.rle.counts) {
    const choice = instance.made.verification?.choice;
    return choice
      ? (CHOICES[choice] ?? choice)
      : instance.made.made_by?.annotator
        ? "by a person"
        : "proposed";
  }
  return `${instance.made ? "corrected" : "drawn"}, ${geometryOf(instance.rle).area.toLocaleString("en")} px`;
}
