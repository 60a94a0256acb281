import type { GalleryItem } from "../api/schema";

/** What became of a pair, in a word. */
export function VerdictMark({ item }: { item: GalleryItem }) {
  const { verdict } = item.pair;
  if (!verdict) return <span className="verdict">no verdict</span>;
  return <span className={`verdict ${verdict}`}>{wordOf(item)}</span>;
}

export function wordOf({ pair, waiting }: GalleryItem): string {
  if (pair.verdict === "accept") return waiting ? "accepted, checked again" : "accepted";
  if (pair.verdict === "review") return "with people";
  return waiting ? "doubtful, with people" : "rejected";
}
