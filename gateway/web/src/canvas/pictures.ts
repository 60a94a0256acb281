/** Pictures, decoded ahead of being shown. Those shown last are kept. */

import { picture } from "../api/client";

export interface Picture {
  /** The picture in full. */
  readonly full: ImageBitmap;
  /** At most `OVERVIEW` pixels wide and high: what is drawn while more would not be seen, so that panning is smooth. */
  readonly overview: ImageBitmap;
}

const OVERVIEW = 2048;
const MOST = 8;
const known = new Map<string, Promise<Picture>>();

export function pictureOf(imageId: string): Promise<Picture> {
  let found = known.get(imageId);
  known.delete(imageId);
  if (!found) {
    found = load(imageId);
    found.catch(() => known.delete(imageId));
  }
  known.set(imageId, found);
  for (const [oldest, old] of known) {
    if (known.size <= MOST) break;
    known.delete(oldest);
    // A frame may still be under way with it.
    void old.then((gone) => window.setTimeout(() => close(gone), 1000)).catch(() => undefined);
  }
  return found;
}

async function load(imageId: string): Promise<Picture> {
  const blob = await picture(imageId);
  const full = await createImageBitmap(blob);
  const scale = OVERVIEW / Math.max(full.width, full.height);
  if (scale >= 1) return { full, overview: full };
  const overview = await createImageBitmap(full, {
    resizeWidth: Math.round(full.width * scale),
    resizeHeight: Math.round(full.height * scale),
    resizeQuality: "high",
  });
  return { full, overview };
}

function close(gone: Picture): void {
  gone.full.close();
  gone.overview.close();
}
