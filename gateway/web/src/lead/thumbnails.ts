/** Small pictures for the gallery. A picture is fetched once for all its pairs, and few at a time. */

import { picture } from "../api/client";

/** Longest side in pixels: a card's width on a screen of double density. */
const LONGEST = 560;
const MOST_KEPT = 120;
const AT_ONCE = 4;

interface Small {
  readonly bitmap: Promise<ImageBitmap>;
}

const known = new Map<string, Small>();
const waiting: (() => void)[] = [];
let running = 0;

/** The picture at a size for cards. Those used last are kept. */
export function thumbnailOf(image: { id: string; width: number; height: number }): Promise<ImageBitmap> {
  let found = known.get(image.id);
  known.delete(image.id);
  if (!found) {
    found = { bitmap: inTurn(() => small(image)) };
    found.bitmap.catch(() => known.delete(image.id));
  }
  known.set(image.id, found);
  for (const oldest of known.keys()) {
    if (known.size <= MOST_KEPT) break;
    // Cards may still draw it: it is let go of, not closed.
    known.delete(oldest);
  }
  return found.bitmap;
}

async function small(image: { id: string; width: number; height: number }): Promise<ImageBitmap> {
  const blob = await picture(image.id);
  const scale = Math.min(1, LONGEST / Math.max(image.width, image.height));
  return createImageBitmap(blob, {
    resizeWidth: Math.max(1, Math.round(image.width * scale)),
    resizeHeight: Math.max(1, Math.round(image.height * scale)),
    resizeQuality: "medium",
  });
}

async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (running >= AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
  running += 1;
  try {
    return await work();
  } finally {
    running -= 1;
    waiting.shift()?.();
  }
}
