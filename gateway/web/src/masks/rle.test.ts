import { describe, expect, it } from "vitest";
import { Bitmap } from "./bitmap";
import { outlineOf } from "./outline";
import { areaOf, boxOf, countsOf, covers, MalformedRle, runsOf } from "./rle";

/** Rows of `.` and `#`. */
function drawn(...rows: string[]): Bitmap {
  const bitmap = new Bitmap(rows[0]?.length ?? 0, rows.length);
  rows.forEach((row, y) => {
    [...row].forEach((pixel, x) => {
      if (pixel === "#") bitmap.data[y * bitmap.width + x] = 1;
    });
  });
  return bitmap;
}

function random(width: number, height: number, seed: number, share: number): Bitmap {
  const bitmap = new Bitmap(width, height);
  let state = seed;
  for (let index = 0; index < bitmap.data.length; index += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bitmap.data[index] = state / 2 ** 32 < share ? 1 : 0;
  }
  return bitmap;
}

describe("compressed counts", () => {
  // Written by pycocotools 2.0: mask.encode(np.asfortranarray(...)).
  const PYCOCOTOOLS = [
    { rows: ["....", ".##.", ".##.", "...."], counts: "52203" },
    { rows: ["#..", "...", "..#"], counts: "0170" },
    { rows: ["....."], counts: "5" },
    { rows: ["###", "###"], counts: "06" },
  ];

  it.each(PYCOCOTOOLS)("of $rows are those of pycocotools", ({ rows, counts }) => {
    const bitmap = drawn(...rows);
    expect(bitmap.toRle()).toEqual({ size: [rows.length, rows[0]?.length], counts });
    expect(Bitmap.fromRle({ size: [rows.length, rows[0]?.length ?? 0], counts }).data).toEqual(bitmap.data);
  });

  it.each([0.01, 0.3, 0.5, 0.97])("come back as they were at density %s", (share) => {
    const bitmap = random(61, 47, 7, share);
    const rle = bitmap.toRle();
    expect(Bitmap.fromRle(rle).data).toEqual(bitmap.data);
    expect(countsOf(runsOf(rle))).toBe(rle.counts);
    expect(areaOf(runsOf(rle))).toBe(bitmap.data.reduce((sum, value) => sum + value, 0));
  });

  it("hold runs of 12 megapixels", () => {
    const runs = [4000 * 1500, 1, 4000 * 1500 - 1];
    expect([...runsOf({ size: [3000, 4000], counts: countsOf(runs) })]).toEqual(runs);
  });

  it.each(["", "5", "\u0000", "oooooooooooo", "999", "P"])("%j is refused for a 2 x 2 image", (counts) => {
    expect(() => runsOf({ size: [2, 2], counts })).toThrow(MalformedRle);
  });
});

describe("what is read off a mask", () => {
  it("is its box and its pixels", () => {
    const bitmap = drawn(".....", "..##.", "..#..", ".....");
    const runs = runsOf(bitmap.toRle());
    expect(boxOf(runs, 4)).toEqual({ x: 2, y: 1, width: 2, height: 2 });
    expect(covers(runs, 4, 3.9, 1.2)).toBe(true);
    expect(covers(runs, 4, 3.9, 2.2)).toBe(false);
    expect(boxOf(runsOf(drawn("..", "..").toRle()), 2)).toBeNull();
  });

  it("is the whole column where a run goes on in the next one", () => {
    const runs = runsOf(drawn(".#", "#.").toRle());
    expect(boxOf(runs, 2)).toEqual({ x: 0, y: 0, width: 2, height: 2 });
  });
});

describe("outlines", () => {
  it("join straight stretches", () => {
    const bitmap = drawn("....", ".##.", ".##.");
    const runs = runsOf(bitmap.toRle());
    const [ring] = outlineOf(runs, 3, { x: 1, y: 1, width: 2, height: 2 });
    expect([...(ring ?? [])]).toEqual([3, 1, 3, 3, 1, 3, 1, 1]);
  });

  it.each([
    [3, 0.5],
    [11, 0.2],
    [5, 0.8],
  ])("give back the mask when they are filled (seed %i, density %f)", (seed, share) => {
    const bitmap = random(23, 17, seed, share);
    const runs = runsOf(bitmap.toRle());
    const box = boxOf(runs, 17);
    expect(box).not.toBeNull();
    const crossings = new Bitmap(23, 17);
    for (const ring of box ? outlineOf(runs, 17, box) : []) {
      const filled = new Bitmap(23, 17);
      const points = Array.from({ length: ring.length / 2 }, (_, i) => ({
        x: ring[2 * i] ?? 0,
        y: ring[2 * i + 1] ?? 0,
      }));
      filled.polygon(points, 1);
      filled.data.forEach((value, index) => {
        crossings.data[index] = (crossings.data[index] ?? 0) ^ value;
      });
    }
    expect(crossings.data).toEqual(bitmap.data);
  });
});

describe("drawing", () => {
  it("of a brush sets the pixels near its line, and of an eraser clears them", () => {
    const bitmap = new Bitmap(9, 5);
    expect(bitmap.capsule({ x: 2.5, y: 2.5 }, { x: 6.5, y: 2.5 }, 1, 1)).not.toBeNull();
    const expected = drawn(".........", "..#####..", ".#######.", "..#####..", ".........");
    expect(bitmap.data).toEqual(expected.data);
    bitmap.capsule({ x: 4.5, y: 2.5 }, { x: 4.5, y: 2.5 }, 9, 0);
    expect(bitmap.isEmpty()).toBe(true);
  });

  it("outside of the image does nothing", () => {
    const bitmap = new Bitmap(4, 4);
    expect(bitmap.capsule({ x: -9, y: -9 }, { x: -5, y: -9 }, 2, 1)).toBeNull();
    expect(
      bitmap.polygon(
        [
          { x: 1, y: 1 },
          { x: 2, y: 2 },
        ],
        1,
      ),
    ).toBeNull();
    expect(bitmap.isEmpty()).toBe(true);
  });

  it("of a polygon fills its inside, cut at the image's edge", () => {
    const bitmap = new Bitmap(4, 3);
    bitmap.polygon(
      [
        { x: 1, y: 1 },
        { x: 9, y: 1 },
        { x: 9, y: 9 },
        { x: 1, y: 9 },
      ],
      1,
    );
    expect(bitmap.data).toEqual(drawn("....", ".###", ".###").data);
  });
});
