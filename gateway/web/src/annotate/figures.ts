import type { Figure } from "../canvas/ImageCanvas";
import { type Instance, UNLABELLED, type Work } from "../edit/work";
import { geometryOf } from "../masks/geometry";
import { colourOf } from "../masks/palette";

const PLAIN = "#e9ebee";

/**
 * Regions without a label are boxes in white; labelled ones are masks in the colour of their phrase. `order` is that of
 * Tab: those without a label first.
 */
export function annotateFigures(
  work: Work,
  selectedId: string | null,
): { figures: Figure[]; order: Instance[] } {
  const order: Instance[] = [];
  const figures: Figure[] = [];
  let colour = 0;
  for (const pair of work.pairs) {
    const unlabelled = pair.key === UNLABELLED;
    for (const instance of pair.instances) {
      const selected = instance.id === selectedId;
      order.push(instance);
      if (instance.dropped && !selected) continue;
      const asBox = unlabelled && !selected;
      figures.push({
        id: instance.id,
        rle: asBox ? null : instance.rle,
        box: instance.rle ? geometryOf(instance.rle).box : instance.box,
        colour: unlabelled ? PLAIN : colourOf(colour),
        selected,
        faint: instance.dropped,
      });
    }
    if (!unlabelled && pair.polarity === "positive") colour += 1;
  }
  figures.sort((first, second) => Number(first.selected) - Number(second.selected));
  return { figures, order };
}
