/** What a drawing amounts to. Pure. */

import { stroked, withPolygon } from "../masks/editing";
import type { Box, Rle } from "../masks/rle";
import type { Gesture } from "./state";

type Dragged = Extract<Gesture, { kind: "box" }>;

/** The part of the box that lies on the image; `size` is height and width. */
export function boxOf({ from, to }: Dragged, [height, width]: readonly [number, number]): Box {
  const left = Math.max(0, Math.min(from.x, to.x));
  const top = Math.max(0, Math.min(from.y, to.y));
  const right = Math.min(width, Math.max(from.x, to.x));
  const bottom = Math.min(height, Math.max(from.y, to.y));
  return { x: left, y: top, width: right - left, height: bottom - top };
}

/** The mask after a stroke or a polygon; null where nothing is left. */
export function drawn(
  gesture: Exclude<Gesture, Dragged>,
  before: Rle | null,
  size: readonly [number, number],
): Rle | null {
  return gesture.kind === "stroke"
    ? stroked(before, size, gesture)
    : withPolygon(before, size, gesture.points);
}
