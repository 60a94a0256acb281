/** Which part of the image is seen. Screen = image * scale + offset. */

import { createStore, type StoreApi } from "zustand/vanilla";
import type { Point } from "../masks/bitmap";
import type { Box } from "../masks/rle";

export interface View {
  readonly scale: number;
  readonly x: number;
  readonly y: number;
}

export interface ViewportState extends View {
  readonly size: { readonly width: number; readonly height: number };
  readonly image: { readonly width: number; readonly height: number };
  /** The whole image is shown, and again whenever the window changes. */
  readonly fitted: boolean;
}

const MARGIN = 24;
const MOST_SCALE = 40;
const STEP = 1.25;

export class Viewport {
  readonly store: StoreApi<ViewportState> = createStore<ViewportState>()(() => ({
    scale: 1,
    x: 0,
    y: 0,
    size: { width: 1, height: 1 },
    image: { width: 1, height: 1 },
    fitted: true,
  }));

  get state(): ViewportState {
    return this.store.getState();
  }

  resize(width: number, height: number): void {
    const { size, x, y, fitted } = this.state;
    if (size.width === width && size.height === height) return;
    this.store.setState({
      size: { width, height },
      x: x + (width - size.width) / 2,
      y: y + (height - size.height) / 2,
    });
    if (fitted) this.fit();
  }

  show(width: number, height: number): void {
    const { image } = this.state;
    if (image.width === width && image.height === height) return;
    this.store.setState({ image: { width, height } });
    this.fit();
  }

  fit(): void {
    const { image } = this.state;
    this.frame({ x: 0, y: 0, ...image }, MARGIN, 8);
    this.store.setState({ fitted: true });
  }

  /** The box and its surroundings. */
  closeUp(box: Box): void {
    const around = Math.max(box.width, box.height) * 0.35 + 4;
    this.frame(
      {
        x: box.x - around,
        y: box.y - around,
        width: box.width + 2 * around,
        height: box.height + 2 * around,
      },
      0,
      MOST_SCALE / 2,
    );
    this.store.setState({ fitted: false });
  }

  zoom(steps: number, at?: Point): void {
    const { scale, x, y, size } = this.state;
    const around = at ?? { x: size.width / 2, y: size.height / 2 };
    const next = Math.min(MOST_SCALE, Math.max(this.least, scale * STEP ** steps));
    const factor = next / scale;
    this.store.setState({
      scale: next,
      x: around.x - (around.x - x) * factor,
      y: around.y - (around.y - y) * factor,
      fitted: false,
    });
  }

  pan(dx: number, dy: number): void {
    const { x, y, scale, image, size } = this.state;
    // A part of the image always stays in sight.
    const keep = 40;
    const clamp = (value: number, length: number, room: number): number =>
      Math.min(room - keep, Math.max(keep - length * scale, value));
    this.store.setState({
      x: clamp(x + dx, image.width, size.width),
      y: clamp(y + dy, image.height, size.height),
      fitted: false,
    });
  }

  /** Pans so that the point of the image is in sight. */
  reveal(point: Point): void {
    const { scale, x, y, size } = this.state;
    const sx = point.x * scale + x;
    const sy = point.y * scale + y;
    const dx = sx < MARGIN ? MARGIN - sx : Math.min(0, size.width - MARGIN - sx);
    const dy = sy < MARGIN ? MARGIN - sy : Math.min(0, size.height - MARGIN - sy);
    if (dx !== 0 || dy !== 0) this.pan(dx, dy);
  }

  toImage(screen: Point): Point {
    const { scale, x, y } = this.state;
    return { x: (screen.x - x) / scale, y: (screen.y - y) / scale };
  }

  private get least(): number {
    const { image, size } = this.state;
    return Math.min(1, (0.5 * Math.min(size.width, size.height)) / Math.max(image.width, image.height));
  }

  private frame(box: Box, margin: number, most: number): void {
    const { size } = this.state;
    const scale = Math.min(
      most,
      Math.max(1, size.width - 2 * margin) / box.width,
      Math.max(1, size.height - 2 * margin) / box.height,
    );
    this.store.setState({
      scale,
      x: (size.width - box.width * scale) / 2 - box.x * scale,
      y: (size.height - box.height * scale) / 2 - box.y * scale,
    });
  }
}

let last: { readonly imageId: string; readonly viewport: Viewport } | null = null;

/** The view of an image: the next task of the same image is seen as the one before, another image as a whole. */
export function viewportOf(imageId: string): Viewport {
  if (last?.imageId !== imageId) last = { imageId, viewport: new Viewport() };
  return last.viewport;
}
