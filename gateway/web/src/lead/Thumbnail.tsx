import { useEffect, useRef, useState } from "react";
import type { Image, Pair } from "../api/types";
import { geometryOf } from "../masks/geometry";
import { colourOf } from "../masks/palette";
import { plural } from "./format";
import { thumbnailOf } from "./thumbnails";

const AHEAD = "400px";

/** A pair's picture with its masks, drawn once it comes near the window. */
export function Thumbnail({ image, pair }: { image: Image; pair: Pair }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [near, setNear] = useState(false);
  const [state, setState] = useState<"waiting" | "drawn" | "failed">("waiting");

  useEffect(() => {
    const node = canvas.current;
    if (!node) return;
    const observer = new IntersectionObserver(
      (entries) => entries.some((entry) => entry.isIntersecting) && setNear(true),
      { rootMargin: AHEAD },
    );
    observer.observe(node);
    return () => observer.disconnect();
  }, []);

  useEffect(() => {
    if (!near) return;
    let current = true;
    thumbnailOf(image).then(
      (bitmap) => {
        if (!current || !canvas.current) return;
        draw(canvas.current, bitmap, image, pair);
        setState("drawn");
      },
      () => current && setState("failed"),
    );
    return () => {
      current = false;
    };
  }, [near, image, pair]);

  return (
    <span className="thumbnail" data-state={state}>
      <canvas ref={canvas} role="img" aria-label={described(image, pair)} />
      {state === "failed" && <span className="nothing">The picture did not come</span>}
    </span>
  );
}

/** The picture in words. */
function described(image: Image, pair: Pair): string {
  const name = image.name || "Image";
  if (pair.polarity === "negative") return `${name}: ${pair.phrase}, said to be absent`;
  return `${name}: ${pair.phrase}, ${plural(pair.masks.length, "object")}`;
}

function draw(canvas: HTMLCanvasElement, bitmap: ImageBitmap, image: Image, pair: Pair): void {
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d");
  if (!context) return;
  context.drawImage(bitmap, 0, 0);
  const scale = bitmap.width / image.width;
  context.scale(scale, bitmap.height / image.height);
  context.lineJoin = "round";
  pair.masks.forEach((mask, index) => {
    const path = geometryOf(mask.rle).path();
    context.fillStyle = colourOf(index);
    context.globalAlpha = 0.4;
    context.fill(path, "evenodd");
    context.globalAlpha = 1;
    context.strokeStyle = "rgba(0, 0, 0, 0.6)";
    context.lineWidth = 4.5 / scale;
    context.stroke(path);
    context.strokeStyle = colourOf(index);
    context.lineWidth = 2 / scale;
    context.stroke(path);
  });
}
