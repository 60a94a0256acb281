import { expect, it } from "vitest";
import { Viewport } from "./viewport";

function shown(): Viewport {
  const viewport = new Viewport();
  viewport.resize(1000, 800);
  viewport.show(4000, 3000);
  return viewport;
}

it("shows the whole image in the middle", () => {
  const viewport = shown();
  const centre = viewport.toImage({ x: 500, y: 400 });
  expect(centre.x).toBeCloseTo(2000);
  expect(centre.y).toBeCloseTo(1500);
  expect(viewport.toImage({ x: 0, y: 0 }).x).toBeLessThanOrEqual(0);
});

it("keeps the place under the pointer when zooming", () => {
  const viewport = shown();
  const before = viewport.toImage({ x: 300, y: 200 });
  viewport.zoom(3, { x: 300, y: 200 });
  const after = viewport.toImage({ x: 300, y: 200 });
  expect(after.x).toBeCloseTo(before.x);
  expect(after.y).toBeCloseTo(before.y);
});

it("never loses the image from sight", () => {
  const viewport = shown();
  viewport.pan(1e6, -1e6);
  const { x, y, scale } = viewport.state;
  expect(x).toBeLessThan(1000);
  expect(y + 3000 * scale).toBeGreaterThan(0);
});

it("brings a point into sight", () => {
  const viewport = shown();
  viewport.zoom(8);
  viewport.reveal({ x: 10, y: 2990 });
  const { x, y, scale } = viewport.state;
  expect(10 * scale + x).toBeGreaterThanOrEqual(0);
  expect(2990 * scale + y).toBeLessThanOrEqual(800);
});
