/** A mask that is being drawn: one byte a pixel, rows after one another; drawing is exact, without blurred edges. */

import { type Box, countsOf, type Rle, runsOf } from "./rle";

export interface Point {
  readonly x: number;
  readonly y: number;
}

export class Bitmap {
  readonly data: Uint8Array;

  constructor(
    readonly width: number,
    readonly height: number,
    data?: Uint8Array,
  ) {
    this.data = data ?? new Uint8Array(width * height);
  }

  static fromRle(rle: Rle): Bitmap {
    const [height, width] = rle.size;
    const bitmap = new Bitmap(width, height);
    let at = 0;
    runsOf(rle).forEach((run, index) => {
      if (index % 2 === 1) {
        for (let pixel = at; pixel < at + run; pixel += 1) {
          const column = Math.floor(pixel / height);
          bitmap.data[(pixel - column * height) * width + column] = 1;
        }
      }
      at += run;
    });
    return bitmap;
  }

  toRle(): Rle {
    const { width, height, data } = this;
    const runs: number[] = [];
    let value = 0;
    let length = 0;
    for (let x = 0; x < width; x += 1) {
      for (let y = 0, at = x; y < height; y += 1, at += width) {
        if (data[at] === value) {
          length += 1;
        } else {
          runs.push(length);
          length = 1;
          value = 1 - value;
        }
      }
    }
    runs.push(length);
    return { size: [height, width], counts: countsOf(runs) };
  }

  isEmpty(): boolean {
    return !this.data.includes(1);
  }

  /** Sets all pixels whose centre is within `radius` of the segment; returns what was touched. */
  capsule(from: Point, to: Point, radius: number, value: 0 | 1): Box | null {
    const touched = this.clipped(
      Math.min(from.x, to.x) - radius,
      Math.min(from.y, to.y) - radius,
      Math.max(from.x, to.x) + radius,
      Math.max(from.y, to.y) + radius,
    );
    if (touched === null) return null;
    const dx = to.x - from.x;
    const dy = to.y - from.y;
    const squared = dx * dx + dy * dy;
    const limit = Math.max(radius, 0.71) ** 2;
    for (let y = touched.y; y < touched.y + touched.height; y += 1) {
      for (let x = touched.x; x < touched.x + touched.width; x += 1) {
        const px = x + 0.5 - from.x;
        const py = y + 0.5 - from.y;
        const along = squared === 0 ? 0 : Math.min(1, Math.max(0, (px * dx + py * dy) / squared));
        const ex = px - along * dx;
        const ey = py - along * dy;
        if (ex * ex + ey * ey <= limit) this.data[y * this.width + x] = value;
      }
    }
    return touched;
  }

  /** Sets all pixels whose centre is inside the polygon (even-odd rule); returns what was touched. */
  polygon(points: readonly Point[], value: 0 | 1): Box | null {
    if (points.length < 3) return null;
    const xs = points.map((point) => point.x);
    const ys = points.map((point) => point.y);
    const touched = this.clipped(Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys));
    if (touched === null) return null;
    for (let y = touched.y; y < touched.y + touched.height; y += 1) {
      const centre = y + 0.5;
      const crossings: number[] = [];
      points.forEach((a, index) => {
        const b = points[(index + 1) % points.length] ?? a;
        if (a.y <= centre !== b.y <= centre)
          crossings.push(a.x + ((centre - a.y) / (b.y - a.y)) * (b.x - a.x));
      });
      crossings.sort((first, second) => first - second);
      for (let index = 0; index + 1 < crossings.length; index += 2) {
        const first = Math.max(0, Math.ceil((crossings[index] ?? 0) - 0.5));
        const last = Math.min(this.width, Math.ceil((crossings[index + 1] ?? 0) - 0.5));
        if (first < last) this.data.fill(value, y * this.width + first, y * this.width + last);
      }
    }
    return touched;
  }

  private clipped(left: number, top: number, right: number, bottom: number): Box | null {
    const x = Math.max(0, Math.floor(left));
    const y = Math.max(0, Math.floor(top));
    const width = Math.min(this.width, Math.ceil(right) + 1) - x;
    const height = Math.min(this.height, Math.ceil(bottom) + 1) - y;
    return width > 0 && height > 0 ? { x, y, width, height } : null;
  }
}
