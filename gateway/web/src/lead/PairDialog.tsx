import { type KeyboardEvent, useMemo, useState } from "react";
import type { ExhaustivityVerification, GalleryItem, PersonFigures, Provenance } from "../api/schema";
import { ImageCanvas } from "../canvas/ImageCanvas";
import { Viewport } from "../canvas/viewport";
import { colourOf } from "../masks/palette";
import { Dialog } from "../ui/Dialog";
import { percent, whole } from "./format";
import { wordOf } from "./VerdictMark";

interface Props {
  readonly item: GalleryItem;
  readonly people: readonly PersonFigures[];
  onClose(): void;
  onStep(by: 1 | -1): void;
}

/** One pair of the gallery at full size, and who or what made and judged it. */
export function PairDialog({ item, people, onClose, onStep }: Props) {
  const { image, pair } = item;
  const viewport = useMemo(() => new Viewport(), []);
  const [hidden, setHidden] = useState(false);
  const name = (made: Provenance): string =>
    made.annotator
      ? (people.find((person) => person.annotator === made.annotator)?.name ?? made.annotator)
      : (made.weights ?? made.model ?? "unknown");
  const onKey = (event: KeyboardEvent): void => {
    if (event.key === "ArrowRight") onStep(1);
    else if (event.key === "ArrowLeft") onStep(-1);
    else if (event.key === "+" || event.key === "=") viewport.zoom(1);
    else if (event.key === "-") viewport.zoom(-1);
    else if (event.key === "0") viewport.fit();
    else if (event.key === "h") setHidden(!hidden);
    else return;
    event.preventDefault();
  };
  const makers = [...new Set(pair.masks.flatMap((mask) => (mask.made_by ? [name(mask.made_by)] : [])))];
  const facts: [string, string][] = [
    ["Verdict", pair.verdict ? wordOf(item) : "none"],
    ["Score", pair.score.toFixed(3)],
    ["Polarity", pair.hard_negative ? "hard negative" : pair.polarity],
    ...(pair.confused_with ? [["Confused with", pair.confused_with] as [string, string]] : []),
    ["Presence", percent(pair.presence)],
    ...(pair.exhaustivity ? [["All instances", exhaustivityOf(pair.exhaustivity)] as [string, string]] : []),
    ...(pair.negative ? [["Truly absent", percent(pair.negative.absent)] as [string, string]] : []),
    ...(pair.polarity === "positive"
      ? [["Marked complete", pair.exhaustive ? "yes" : "no"] as [string, string]]
      : []),
    [
      "Phrase from",
      pair.made_by ? `${pair.source ?? "unknown"}: ${name(pair.made_by)}` : (pair.source ?? "unknown"),
    ],
    ["Masks by", makers.join(", ") || "none"],
    ["Judged by", judges(item).map(name).join(", ") || "nobody"],
    ["Image", `${image.name}, ${whole(image.width)} × ${whole(image.height)}`],
  ];
  return (
    <Dialog title={pair.phrase} wide onClose={onClose}>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: keys of what is in the dialog */}
      <div className="pair-dialog" onKeyDown={onKey}>
        <div className="pair-picture">
          <ImageCanvas
            image={image}
            viewport={viewport}
            hidden={hidden}
            label={`${image.name}: ${pair.phrase}, ${pair.masks.length} masks`}
            figures={pair.masks.map((mask, index) => ({
              id: String(index),
              rle: mask.rle,
              colour: colourOf(index),
            }))}
          />
        </div>
        <div>
          <dl className="facts-list">
            {facts.map(([fact, value]) => (
              <div key={fact}>
                <dt>{fact}</dt>
                <dd>{value}</dd>
              </div>
            ))}
          </dl>
          {pair.masks.length > 0 && (
            <table className="figures">
              <thead>
                <tr>
                  <th scope="col">Mask</th>
                  <th scope="col" className="words">
                    Judged
                  </th>
                  <th scope="col">Score</th>
                  <th scope="col" title="The segmenter’s own estimate of IoU">
                    IoU
                  </th>
                  <th scope="col">Pixels</th>
                </tr>
              </thead>
              <tbody>
                {pair.masks.map((mask, index) => (
                  <tr key={mask.rle.counts}>
                    <th scope="row">
                      <span className="swatch" style={{ background: colourOf(index) }} aria-hidden="true" />
                      {index + 1}
                    </th>
                    <td className="words">{mask.verification?.choice.replaceAll("_", " ") ?? ""}</td>
                    <td>{mask.score > 0 ? mask.score.toFixed(2) : "–"}</td>
                    <td>{mask.predicted_iou > 0 ? mask.predicted_iou.toFixed(2) : "–"}</td>
                    <td>{whole(mask.area)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
          <div className="row">
            <button type="button" className="button" onClick={() => onStep(-1)}>
              Before <kbd>←</kbd>
            </button>
            <button type="button" className="button" onClick={() => onStep(1)}>
              Next <kbd>→</kbd>
            </button>
          </div>
          <p className="hint">
            <kbd>+</kbd> <kbd>-</kbd> <kbd>0</kbd> zoom, <kbd>H</kbd> hides the masks
          </p>
        </div>
      </div>
    </Dialog>
  );
}

/** A person's word has no probability. */
function exhaustivityOf({ choice, probabilities }: ExhaustivityVerification): string {
  const probability = probabilities[choice];
  const words = choice.replaceAll("_", " ");
  return probability === undefined ? words : `${words}, ${percent(probability)}`;
}

/** Who judged the pair, each once. */
function judges({ pair }: GalleryItem): Provenance[] {
  const found = [
    pair.exhaustivity?.made_by,
    pair.negative?.made_by,
    ...pair.masks.map((mask) => mask.verification?.made_by),
  ].filter((made): made is Provenance => Boolean(made));
  return found.filter(
    (made, index) =>
      found.findIndex((other) => other.annotator === made.annotator && other.weights === made.weights) ===
      index,
  );
}
