import { geometryOf } from "../masks/geometry";
import { colourOf } from "../masks/palette";
import type { Editor } from "./editor";
import type { Instance } from "./work";

const CHOICES: Record<string, string> = {
  accept: "good mask",
  accept_as_text: "good, text",
  flag_label: "label in doubt",
  whole_image: "whole image",
  reject: "doubtful mask",
};

interface Props {
  readonly editor: Editor;
  readonly instances: readonly Instance[];
  readonly selectedId: string | null;
  readonly empty: string;
  readonly writable: boolean;
  /** The phrase is thought absent: what is out was masked wrongly. */
  readonly absent: boolean;
}

/** The pair's instances by number, with what the models said about each. */
export function ObjectList({ editor, instances, selectedId, empty, writable, absent }: Props) {
  if (instances.length === 0) return <p className="hint">{empty}</p>;
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
