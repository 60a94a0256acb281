import type Konva from "konva";
import { type ReactNode, useEffect, useMemo, useRef, useState } from "react";
import { Image as KonvaImage, Layer, Rect, Shape, Stage } from "react-konva";
import { useStore } from "zustand";
import type { Point } from "../masks/bitmap";
import { geometryOf } from "../masks/geometry";
import type { Box, Rle } from "../masks/rle";
import { complain } from "../ui/notices";
import { type Picture, pictureOf } from "./pictures";
import type { Viewport } from "./viewport";

/** Something that is drawn on the image. */
export interface Figure {
  readonly id: string;
  readonly rle: Rle | null;
  /** Drawn where there is no mask, and around the mask of a selected figure. */
  readonly box?: Box | null;
  readonly colour: string;
  readonly selected?: boolean;
  /** Faint: taken out, or not of the pair in question. */
  readonly faint?: boolean;
}

/** What a pointer does on the image; places are in pixels of the image. */
export interface Tool {
  readonly cursor: string;
  down(at: Point, against: boolean): void;
  move?(at: Point): void;
  up?(at: Point): void;
  leave?(): void;
  double?(at: Point): void;
}

interface Props {
  readonly image: { readonly id: string; readonly width: number; readonly height: number };
  readonly viewport: Viewport;
  readonly figures: readonly Figure[];
  readonly hidden?: boolean;
  /** For screen readers. */
  readonly label: string;
  readonly tool?: Tool | null;
  /** Without a tool a click chooses a figure. */
  readonly onPick?: (id: string | null) => void;
  /** Further Konva nodes in the image's pixels. */
  readonly children?: ReactNode;
}

const CLICK_PIXELS = 4;

export function ImageCanvas(props: Props) {
  const { image, viewport, figures, hidden, label, tool, onPick, children } = props;
  const frame = useRef<HTMLDivElement>(null);
  const stage = useRef<Konva.Stage>(null);
  const view = useStore(viewport.store);
  const picture = usePicture(image.id);
  const dragged = useRef<{ from: Point; last: Point; button: number; moved: boolean } | null>(null);
  const [panning, setPanning] = useState(false);

  useEffect(() => {
    const node = frame.current;
    if (!node) return;
    const observer = new ResizeObserver(() => viewport.resize(node.clientWidth, node.clientHeight));
    observer.observe(node);
    viewport.resize(node.clientWidth, node.clientHeight);
    return () => observer.disconnect();
  }, [viewport]);

  // Keys are the image's from the start, not those of the link that led here.
  useEffect(() => {
    const active = document.activeElement;
    if (active === document.body || active?.matches("nav [aria-current=page]")) {
      frame.current?.focus({ preventScroll: true });
    }
  }, []);

  useEffect(() => viewport.show(image.width, image.height), [viewport, image.width, image.height]);

  useEffect(() => {
    const node = frame.current;
    if (!node) return;
    const onWheel = (event: WheelEvent): void => {
      event.preventDefault();
      const bounds = node.getBoundingClientRect();
      const at = { x: event.clientX - bounds.left, y: event.clientY - bounds.top };
      if (event.shiftKey) viewport.pan(-event.deltaY, 0);
      else viewport.zoom(-Math.sign(event.deltaY) * Math.min(1, Math.abs(event.deltaY) / 100), at);
    };
    // React listens passively, and then the browser would zoom the page.
    node.addEventListener("wheel", onWheel, { passive: false });
    return () => node.removeEventListener("wheel", onWheel);
  }, [viewport]);

  const place = (event: { clientX: number; clientY: number }): Point => {
    const bounds = frame.current?.getBoundingClientRect();
    return viewport.toImage({
      x: event.clientX - (bounds?.left ?? 0),
      y: event.clientY - (bounds?.top ?? 0),
    });
  };

  const onDown = (event: React.PointerEvent): void => {
    frame.current?.focus({ preventScroll: true });
    frame.current?.setPointerCapture(event.pointerId);
    const from = { x: event.clientX, y: event.clientY };
    const drawing = tool && (event.button === 0 || event.button === 2);
    dragged.current = { from, last: from, button: drawing ? -1 : event.button, moved: false };
    if (drawing) tool.down(place(event), event.button === 2 || event.altKey);
    else setPanning(true);
  };

  const onMove = (event: React.PointerEvent): void => {
    const drag = dragged.current;
    if (!drag || drag.button === -1) {
      // All the points that the pointer passed since the last frame, not only its last one.
      const passed = event.nativeEvent.getCoalescedEvents?.() ?? [];
      for (const each of passed.length > 0 ? passed : [event.nativeEvent]) tool?.move?.(place(each));
      return;
    }
    const far = Math.hypot(event.clientX - drag.from.x, event.clientY - drag.from.y) > CLICK_PIXELS;
    const moved = drag.moved || far;
    if (moved) viewport.pan(event.clientX - drag.last.x, event.clientY - drag.last.y);
    if (moved) dragged.current = { ...drag, moved, last: { x: event.clientX, y: event.clientY } };
  };

  const onUp = (event: React.PointerEvent): void => {
    const drag = dragged.current;
    dragged.current = null;
    setPanning(false);
    if (!drag) return;
    if (drag.button === -1) tool?.up?.(place(event));
    else if (!drag.moved && drag.button === 0) onPick?.(figureAt(figures, place(event)));
  };

  const whole = view.scale * Math.max(image.width, image.height);
  const shownPicture = picture && (whole > picture.overview.width * 1.1 ? picture.full : picture.overview);
  const smooth = view.scale < 4;
  const place2d = { x: view.x, y: view.y, scaleX: view.scale, scaleY: view.scale };
  const cursor = panning ? "grabbing" : (tool?.cursor ?? "grab");
  return (
    <div
      ref={frame}
      className="canvas"
      role="application"
      aria-label={label}
      aria-busy={!picture}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: an application takes the keys of its tools
      tabIndex={0}
      data-testid="canvas"
      style={{ cursor }}
      onPointerDown={onDown}
      onPointerMove={onMove}
      onPointerUp={onUp}
      onPointerCancel={onUp}
      onPointerLeave={() => tool?.leave?.()}
      onDoubleClick={(event) => tool?.double?.(place(event))}
      onContextMenu={(event) => event.preventDefault()}
    >
      <Stage ref={stage} width={view.size.width} height={view.size.height} listening={false}>
        <Layer {...place2d} imageSmoothingEnabled={smooth} listening={false}>
          {shownPicture ? (
            <KonvaImage
              image={shownPicture}
              width={image.width}
              height={image.height}
              perfectDrawEnabled={false}
            />
          ) : (
            <Rect width={image.width} height={image.height} fill="#1b1e23" />
          )}
        </Layer>
        <Layer {...place2d} visible={!hidden} listening={false}>
          {figures.map((figure) => (
            <FigureShape key={figure.id} figure={figure} />
          ))}
        </Layer>
        <Layer {...place2d} listening={false}>
          {children}
        </Layer>
      </Stage>
    </div>
  );
}

function FigureShape({ figure }: { figure: Figure }) {
  const geometry = useMemo(() => (figure.rle ? geometryOf(figure.rle) : null), [figure.rle]);
  const { colour, selected, faint } = figure;
  const box = geometry ? geometry.box : figure.box;
  return (
    <>
      {geometry && (
        <Shape
          perfectDrawEnabled={false}
          sceneFunc={(context, shape) => {
            // Konva's context has no fill of a Path2D, so that the canvas's own is used.
            const native = context._context;
            const scale = shape.getAbsoluteScale().x;
            const path = geometry.path();
            native.globalAlpha = faint ? 0.1 : selected ? 0.5 : 0.34;
            native.fillStyle = colour;
            native.fill(path, "evenodd");
            native.globalAlpha = faint ? 0.8 : 1;
            native.lineJoin = "round";
            // A dark line below the coloured one keeps the outline visible on any ground.
            native.lineWidth = (faint ? 0.5 : selected ? 4.5 : 3) / scale;
            native.strokeStyle = "rgba(0, 0, 0, 0.55)";
            native.stroke(path);
            native.lineWidth = (selected ? 2.25 : 1.25) / scale;
            native.strokeStyle = colour;
            if (faint) native.setLineDash([5 / scale, 4 / scale]);
            native.stroke(path);
            native.setLineDash([]);
            native.globalAlpha = 1;
          }}
        />
      )}
      {box && (!geometry || selected) && (
        <Rect
          {...box}
          stroke={geometry ? "#ffffff" : colour}
          opacity={faint ? 0.4 : geometry ? 0.7 : 1}
          strokeWidth={selected && !geometry ? 3 : 1.5}
          strokeScaleEnabled={false}
          {...(geometry || !selected ? { dash: [6, 5] } : {})}
          perfectDrawEnabled={false}
        />
      )}
    </>
  );
}

/** The smallest figure at the place: small ones on large ones can be reached. */
export function figureAt(figures: readonly Figure[], at: Point): string | null {
  const found = figures
    .map((figure) => {
      if (figure.rle) {
        const geometry = geometryOf(figure.rle);
        return { figure, inside: geometry.covers(at.x, at.y), area: geometry.area };
      }
      const { box } = figure;
      const inside =
        !!box && at.x >= box.x && at.y >= box.y && at.x < box.x + box.width && at.y < box.y + box.height;
      return { figure, inside, area: box ? box.width * box.height : 0 };
    })
    .filter(({ inside }) => inside)
    .sort((first, second) => first.area - second.area);
  return found[0]?.figure.id ?? null;
}

function usePicture(imageId: string): Picture | null {
  const [shown, setShown] = useState<{ id: string; picture: Picture } | null>(null);
  useEffect(() => {
    let current = true;
    let timer = 0;
    const load = (): void => {
      pictureOf(imageId).then(
        (picture) => current && setShown({ id: imageId, picture }),
        (error) => {
          if (!current) return;
          complain(error, "The picture did not come:");
          timer = window.setTimeout(load, 3000);
        },
      );
    };
    load();
    return () => {
      current = false;
      window.clearTimeout(timer);
    };
  }, [imageId]);
  return shown?.id === imageId ? shown.picture : null;
}
