/**
 * COCO compressed RLE, as pycocotools writes it (maskApi.c, rleFrString and rleToString): run lengths down the
 * columns of the image, background first; from the fourth run on each is written as the difference to the run
 * two before it, in groups of five bits, 48 added.
 */

export interface Rle {
  /** Height and width in pixels. */
  readonly size: readonly [number, number];
  readonly counts: string;
}

export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export class MalformedRle extends Error {}

/** Run lengths, background first. Throws `MalformedRle` unless they fill exactly the size. */
export function runsOf(rle: Rle): Uint32Array {
  const { counts } = rle;
  const runs: number[] = [];
  let at = 0;
  while (at < counts.length) {
    let value = 0;
    let shift = 0;
    let more = true;
    while (more) {
      const byte = counts.charCodeAt(at) - 48;
      if (Number.isNaN(byte) || byte < 0 || byte > 63 || shift > 30) throw new MalformedRle("malformed RLE");
      at += 1;
      // Multiplied, for a shift of 30 would leave 32-bit integers.
      value += (byte & 0x1f) * 2 ** shift;
      more = (byte & 0x20) !== 0;
      shift += 5;
      if (!more && byte & 0x10) value -= 2 ** shift;
    }
    if (runs.length > 2) value += runs[runs.length - 2] ?? 0;
    if (value < 0) throw new MalformedRle("negative run");
    runs.push(value);
  }
  const total = runs.reduce((sum, run) => sum + run, 0);
  if (total !== rle.size[0] * rle.size[1]) throw new MalformedRle("the runs do not fill the image");
  return Uint32Array.from(runs);
}

/** The compressed counts of run lengths. */
export function countsOf(runs: ArrayLike<number>): string {
  const codes: string[] = [];
  for (let index = 0; index < runs.length; index += 1) {
    let value = (runs[index] ?? 0) - (index > 2 ? (runs[index - 2] ?? 0) : 0);
    let more = true;
    while (more) {
      const low = ((value % 32) + 32) % 32;
      value = Math.floor(value / 32);
      more = low & 0x10 ? value !== -1 : value !== 0;
      codes.push(String.fromCharCode((more ? low | 0x20 : low) + 48));
    }
  }
  return codes.join("");
}

/** Pixels of the mask. */
export function areaOf(runs: ArrayLike<number>): number {
  let area = 0;
  for (let index = 1; index < runs.length; index += 2) area += runs[index] ?? 0;
  return area;
}

/** The tight box; null for an empty mask. */
export function boxOf(runs: ArrayLike<number>, height: number): Box | null {
  let left = Number.POSITIVE_INFINITY;
  let right = -1;
  let top = height;
  let bottom = -1;
  let at = 0;
  for (let index = 0; index < runs.length; index += 1) {
    const run = runs[index] ?? 0;
    if (index % 2 === 1 && run > 0) {
      const last = at + run - 1;
      const first = Math.floor(at / height);
      const end = Math.floor(last / height);
      left = Math.min(left, first);
      right = Math.max(right, end);
      if (end > first) {
        // A run that passes a column's end has its last row and the next one's first.
        bottom = height - 1;
        top = 0;
      } else {
        top = Math.min(top, at % height);
        bottom = Math.max(bottom, last % height);
      }
    }
    at += run;
  }
  if (right < 0) return null;
  return { x: left, y: top, width: right - left + 1, height: bottom - top + 1 };
}

/** Whether pixel (x, y) is in the mask. */
export function covers(runs: ArrayLike<number>, height: number, x: number, y: number): boolean {
  const wanted = Math.floor(x) * height + Math.floor(y);
  let at = 0;
  for (let index = 0; index < runs.length; index += 1) {
    at += runs[index] ?? 0;
    if (wanted < at) return index % 2 === 1;
  }
  return false;
}
