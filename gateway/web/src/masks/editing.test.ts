import { expect, it } from "vitest";
import { Bitmap } from "./bitmap";
import { stroked, withPolygon } from "./editing";

const SIZE = [40, 60] as const;

it("is the same on a part of the image as on the whole", () => {
  const whole = new Bitmap(60, 40);
  const first = {
    points: [
      { x: 50, y: 5 },
      { x: 58, y: 30 },
    ],
    radius: 4,
    erase: false,
  };
  const second = {
    points: [
      { x: 54, y: 20 },
      { x: 20, y: 22 },
      { x: 3, y: 38 },
    ],
    radius: 2.5,
    erase: false,
  };
  const third = { points: [{ x: 55, y: 15 }], radius: 6, erase: true };
  let rle = null;
  for (const stroke of [first, second, third]) {
    rle = stroked(rle, SIZE, stroke);
    stroke.points.forEach((point, index) => {
      whole.capsule(stroke.points[index - 1] ?? point, point, stroke.radius, stroke.erase ? 0 : 1);
    });
    expect(rle).toEqual(whole.toRle());
  }
});

it("leaves no mask where all is erased, and the mask as it is outside of the image", () => {
  const drawn = stroked(null, SIZE, { points: [{ x: 10, y: 10 }], radius: 3, erase: false });
  expect(drawn).not.toBeNull();
  expect(stroked(drawn, SIZE, { points: [{ x: 10, y: 10 }], radius: 9, erase: true })).toBeNull();
  expect(stroked(drawn, SIZE, { points: [{ x: -90, y: -90 }], radius: 9, erase: true })).toEqual(drawn);
});

it("adds polygons", () => {
  const whole = new Bitmap(60, 40);
  const points = [
    { x: 5, y: 5 },
    { x: 30, y: 8 },
    { x: 18, y: 33 },
  ];
  whole.polygon(points, 1);
  expect(withPolygon(null, SIZE, points)).toEqual(whole.toRle());
});
