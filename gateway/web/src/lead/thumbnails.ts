/** Small pictures for the gallery. A picture is fetched once for all its pairs, and few at a time. */

import { thumbnail } from "../api/client";

/** Longest side in pixels: a card's width on a screen of double density. */
const SIDE = 512;
const MOST_KEPT = 120;
const AT_ONCE = 4;

interface Small {
  readonly bitmap: Promise<ImageBitmap>;
}

const known = new Map<string, Small>();
const waiting: (() => void)[] = [];
let running = 0;

/** The picture at a size for cards. Those used last are kept. */
export function thumbnailOf(image: { id: string }): Promise<ImageBitmap> {
  let found = known.get(image.id);
  known.delete(image.id);
  if (!found) {
    found = { bitmap: inTurn(async () => createImageBitmap(await thumbnail(image.id, SIDE))) };
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
