/** Changes of masks. Only the part of the image that a change touches is worked on, so that large images are quick. */

import { Bitmap, type Point } from "./bitmap";
import { geometryOf } from "./geometry";
import { type Box, countsOf, type Rle } from "./rle";

export interface Stroke {
  readonly points: readonly Point[];
  readonly radius: number;
  readonly erase: boolean;
}

/** The mask (null: none yet) after a stroke of brush or eraser; null when nothing is left. */
export function stroked(rle: Rle | null, size: readonly [number, number], stroke: Stroke): Rle | null {
  const box = around(stroke.points, stroke.radius);
  return changed(rle, size, box, (bitmap, left, top) => {
    stroke.points.forEach((point, index) => {
      const from = stroke.points[index - 1] ?? point;
      bitmap.capsule(
        { x: from.x - left, y: from.y - top },
        { x: point.x - left, y: point.y - top },
        stroke.radius,
        stroke.erase ? 0 : 1,
      );
    });
  });
}

/** The mask with a polygon's inside added. */
export function withPolygon(
  rle: Rle | null,
  size: readonly [number, number],
  points: readonly Point[],
): Rle | null {
  return changed(rle, size, around(points, 0), (bitmap, left, top) => {
    bitmap.polygon(
      points.map((point) => ({ x: point.x - left, y: point.y - top })),
      1,
    );
  });
}

function around(points: readonly Point[], margin: number): Box {
  const xs = points.map((point) => point.x);
  const ys = points.map((point) => point.y);
  const x = Math.min(...xs) - margin;
  const y = Math.min(...ys) - margin;
  return { x, y, width: Math.max(...xs) + margin - x, height: Math.max(...ys) + margin - y };
}

function changed(
  rle: Rle | null,
  size: readonly [number, number],
  touched: Box,
  draw: (bitmap: Bitmap, left: number, top: number) => void,
): Rle | null {
  const [height, width] = size;
  const geometry = rle ? geometryOf(rle) : null;
  const boxes = geometry?.box ? [touched, geometry.box] : [touched];
  const left = Math.max(0, Math.floor(Math.min(...boxes.map((box) => box.x))));
  const top = Math.max(0, Math.floor(Math.min(...boxes.map((box) => box.y))));
  const right = Math.min(width, Math.ceil(Math.max(...boxes.map((box) => box.x + box.width))) + 1);
  const bottom = Math.min(height, Math.ceil(Math.max(...boxes.map((box) => box.y + box.height))) + 1);
  if (right <= left || bottom <= top) return rle;
  const bitmap = new Bitmap(right - left, bottom - top);
  if (geometry) copyRuns(geometry.runs, height, bitmap, left, top);
  draw(bitmap, left, top);
  if (bitmap.isEmpty()) return null;
  return { size, counts: countsOf(runsWithin(bitmap, left, top, height, width)) };
}

function copyRuns(runs: Uint32Array, height: number, bitmap: Bitmap, left: number, top: number): void {
  let at = 0;
  runs.forEach((run, index) => {
    if (index % 2 === 1) {
      for (let pixel = at; pixel < at + run; pixel += 1) {
        const column = Math.floor(pixel / height);
        bitmap.data[(pixel - column * height - top) * bitmap.width + (column - left)] = 1;
      }
    }
    at += run;
  });
}

/** Runs of the whole image, of which the bitmap is the part at (left, top). */
function runsWithin(bitmap: Bitmap, left: number, top: number, height: number, width: number): number[] {
  const runs: number[] = [];
  let value = 0;
  let length = left * height;
  const add = (next: number, count: number): void => {
    if (next === value) {
      length += count;
    } else {
      runs.push(length);
      length = count;
      value = next;
    }
  };
  for (let x = 0; x < bitmap.width; x += 1) {
    if (top > 0) add(0, top);
    for (let y = 0, at = x; y < bitmap.height; y += 1, at += bitmap.width) add(bitmap.data[at] ?? 0, 1);
    const below = height - top - bitmap.height;
    if (below > 0) add(0, below);
  }
  const after = (width - left - bitmap.width) * height;
  if (after > 0) add(0, after);
  runs.push(length);
  return runs;
}
