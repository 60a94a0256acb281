/** What is read off a mask, computed once for each. */

import { outlineOf, pathOf } from "./outline";
import { areaOf, type Box, boxOf, covers, type Rle, runsOf } from "./rle";

export interface Geometry {
  readonly runs: Uint32Array;
  /** Tight box; null for an empty mask. */
  readonly box: Box | null;
  readonly area: number;
  path(): Path2D;
  covers(x: number, y: number): boolean;
}

// Masks are immutable: their text names them. Least recently used ones go first.
const known = new Map<string, Geometry>();
const MOST = 2000;

export function geometryOf(rle: Rle): Geometry {
  const name = `${rle.size[0]}x${rle.size[1]}:${rle.counts}`;
  const found = known.get(name) ?? compute(rle);
  known.delete(name);
  known.set(name, found);
  if (known.size > MOST) {
    const oldest = known.keys().next().value;
    if (oldest !== undefined) known.delete(oldest);
  }
  return found;
}

function compute(rle: Rle): Geometry {
  const runs = runsOf(rle);
  const height = rle.size[0];
  const box = boxOf(runs, height);
  let path: Path2D | null = null;
  return {
    runs,
    box,
    area: areaOf(runs),
    path() {
      path ??= box ? pathOf(outlineOf(runs, height, box)) : new Path2D();
      return path;
    },
    covers(x, y) {
      if (!box || x < box.x || y < box.y || x >= box.x + box.width || y >= box.y + box.height) return false;
      return covers(runs, height, x, y);
    },
  };
}
