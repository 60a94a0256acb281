/**
 * The outline of a mask as closed rings of pixel corners, straight stretches joined. Holes are rings of their own:
 * filled by the even-odd rule, the rings give back exactly the mask. They are drawn as vectors, so that outlines
 * stay equally thin at every zoom and a mask on a photograph of 12 megapixels costs no bitmap.
 */

import type { Box } from "./rle";

export type Ring = Int32Array; // x0, y0, x1, y1, ...

/** Rings of a mask given by its run lengths (column-major) and its tight box. */
export function outlineOf(runs: ArrayLike<number>, height: number, box: Box): Ring[] {
  const inside = crop(runs, height, box);
  return trace(inside, box.width, box.height, box.x, box.y);
}

/** The box's part of the mask with a border of one empty pixel, rows after one another. */
function crop(runs: ArrayLike<number>, height: number, box: Box): Uint8Array {
  const stride = box.width + 2;
  const cropped = new Uint8Array(stride * (box.height + 2));
  let at = 0;
  for (let index = 0; index < runs.length; index += 1) {
    const run = runs[index] ?? 0;
    if (index % 2 === 1) {
      for (let pixel = at; pixel < at + run; pixel += 1) {
        const column = Math.floor(pixel / height);
        const row = pixel - column * height;
        cropped[(row - box.y + 1) * stride + (column - box.x + 1)] = 1;
      }
    }
    at += run;
  }
  return cropped;
}

/**
 * Walks along the pixel edges with the mask at the right hand. Every edge is walked once: edges to the right (above
 * a pixel) start the rings, for each ring has one.
 */
function trace(inside: Uint8Array, width: number, height: number, left: number, top: number): Ring[] {
  const stride = width + 2;
  const at = (x: number, y: number): number => inside[(y + 1) * stride + x + 1] ?? 0;
  const walked = new Uint8Array((width + 1) * (height + 1));
  const rings: Ring[] = [];
  for (let y = 0; y <= height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (!at(x, y) || at(x, y - 1) || walked[y * (width + 1) + x]) continue;
      const points: number[] = [];
      let px = x;
      let py = y;
      // Directions: 0 right, 1 down, 2 left, 3 up.
      let direction = 0;
      do {
        if (direction === 0) walked[py * (width + 1) + px] = 1;
        px += direction === 0 ? 1 : direction === 2 ? -1 : 0;
        py += direction === 1 ? 1 : direction === 3 ? -1 : 0;
        const next = turn(at, px, py, direction);
        if (next !== direction) points.push(px + left, py + top);
        direction = next;
      } while (px !== x || py !== y || direction !== 0);
      rings.push(Int32Array.from(points));
    }
  }
  return rings;
}

/** The next direction at corner (x, y): right where that keeps the mask at the right hand, else straight, else left. */
function turn(at: (x: number, y: number) => number, x: number, y: number, direction: number): number {
  // The two pixels ahead of the corner: at the right hand and at the left hand.
  const [right, left] =
    direction === 0
      ? [at(x, y), at(x, y - 1)]
      : direction === 1
        ? [at(x - 1, y), at(x, y)]
        : direction === 2
          ? [at(x - 1, y - 1), at(x - 1, y)]
          : [at(x, y - 1), at(x - 1, y - 1)];
  if (!right) return (direction + 1) % 4;
  return left ? (direction + 3) % 4 : direction;
}

/** The rings as one path. */
export function pathOf(rings: readonly Ring[]): Path2D {
  const path = new Path2D();
  for (const ring of rings) {
    path.moveTo(ring[0] ?? 0, ring[1] ?? 0);
    for (let index = 2; index < ring.length; index += 2) path.lineTo(ring[index] ?? 0, ring[index + 1] ?? 0);
    path.closePath();
  }
  return path;
}
