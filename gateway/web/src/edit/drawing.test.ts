import { expect, test } from "vitest";
import { geometryOf } from "../masks/geometry";
import { boxOf, drawn } from "./drawing";

test("a box that is dragged backwards and out of the image is the part on it", () => {
  const box = boxOf({ kind: "box", from: { x: 12, y: 30 }, to: { x: -4, y: 6 } }, [20, 40]);
  expect(box).toEqual({ x: 0, y: 6, width: 12, height: 14 });
});

test("what is drawn over and erased is gone", () => {
  const points = [{ x: 10, y: 10 }];
  const disc = drawn({ kind: "stroke", points, erase: false, radius: 3 }, null, [20, 20]);
  expect(disc && geometryOf(disc).area).toBeGreaterThan(20);
  expect(drawn({ kind: "stroke", points, erase: true, radius: 5 }, disc, [20, 20])).toBeNull();
});
