import type { Figure } from "../canvas/ImageCanvas";
import { colourOf } from "../masks/palette";
import type { Instance } from "./work";

/** How instances are drawn: coloured by their number; the chosen one last, above the others. */
export function figuresOf(instances: readonly Instance[], selectedId: string | null, offset = 0): Figure[] {
  return instances
    .map((instance, index) => ({
      id: instance.id,
      rle: instance.rle,
      box: instance.box,
      colour: colourOf(index + offset),
      selected: instance.id === selectedId,
      faint: instance.dropped,
    }))
    .sort((first, second) => Number(first.selected) - Number(second.selected));
}
