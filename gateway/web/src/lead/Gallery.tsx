import { useInfiniteQuery } from "@tanstack/react-query";
import { type KeyboardEvent, useDeferredValue, useEffect, useRef, useState } from "react";
import { wording } from "../api/problem";
import type { GalleryItem, PersonFigures } from "../api/schema";
import type { Job } from "../api/types";
import { pairsOf } from "./calls";
import { type FilterForm, filterOf, isFiltered } from "./filter";
import { plural } from "./format";
import { GalleryFilters } from "./GalleryFilters";
import { PairDialog } from "./PairDialog";
import { Thumbnail } from "./Thumbnail";
import { VerdictMark } from "./VerdictMark";

interface Props {
  readonly job: Job | null;
  readonly form: FilterForm;
  readonly people: readonly PersonFigures[];
  onForm(form: FilterForm): void;
}

/** A job's pairs with their pictures, filtered. */
export function Gallery({ job, form, people, onForm }: Props) {
  const [open, setOpen] = useState<number | null>(null);
  // Typing stays quick; what is shown follows.
  const asked = useDeferredValue(form);
  const jobId = job?.id ?? "";
  const found = useInfiniteQuery({
    queryKey: ["pairs", jobId, filterOf(asked)],
    queryFn: ({ pageParam }) => pairsOf(jobId, filterOf(asked), pageParam),
    initialPageParam: "",
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    enabled: job !== null,
  });
  const items = found.data?.pages.flatMap((page) => page.items) ?? [];
  const { hasNextPage, isFetching, fetchNextPage } = found;
  const end = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLUListElement>(null);
  const count = items.length;

  // biome-ignore lint/correctness/useExhaustiveDependencies: a page that was short leaves the end in sight
  useEffect(() => {
    const node = end.current;
    if (!node || !hasNextPage || isFetching) return;
    const observer = new IntersectionObserver(
      (entries) => entries.some((entry) => entry.isIntersecting) && void fetchNextPage(),
      { rootMargin: "600px" },
    );
    observer.observe(node);
    return () => observer.disconnect();
  }, [hasNextPage, isFetching, fetchNextPage, count]);

  if (!job)
    return <p className="nothing large">Choose a job at the left: the gallery shows the pairs of one job.</p>;

  const onKey = (event: KeyboardEvent): void => {
    const cards = [...(list.current?.querySelectorAll<HTMLElement>(".card") ?? [])];
    const at = cards.indexOf(document.activeElement as HTMLElement);
    const by =
      at < 0
        ? undefined
        : { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(cards), ArrowDown: columns(cards) }[event.key];
    const next = by === undefined ? undefined : cards[at + by];
    if (!next) return;
    next.focus();
    event.preventDefault();
  };

  const opened = open === null ? undefined : items[open];
  return (
    <section className="gallery" aria-label="Gallery">
      <GalleryFilters form={form} people={people} onForm={onForm} />
      <p className="found" role="status">
        {found.isError
          ? wording(found.error)
          : found.isPending
            ? "Looking…"
            : `${plural(count, "pair")}${hasNextPage ? " so far" : ""}`}
      </p>
      {found.isSuccess && count === 0 && !hasNextPage && (
        <p className="nothing large">
          {isFiltered(asked)
            ? "No pair fits every filter. Clear one of them."
            : "The job has no pairs yet. They appear as images come through the models, or as people annotate them."}
        </p>
      )}
      <ul className="cards" ref={list} onKeyDown={onKey}>
        {items.map((item, index) => (
          <li key={`${item.image.id} ${item.pair.phrase}`}>
            <Card item={item} onOpen={() => setOpen(index)} />
          </li>
        ))}
      </ul>
      <div ref={end} className="end">
        {hasNextPage && (
          <button type="button" className="button" disabled={isFetching} onClick={() => void fetchNextPage()}>
            {isFetching ? "Loading…" : "More"}
          </button>
        )}
      </div>
      {opened && open !== null && (
        <PairDialog
          item={opened}
          people={people}
          onClose={() => setOpen(null)}
          onStep={(by) => {
            const next = open + by;
            if (next >= 0 && next < count) setOpen(next);
            if (next >= count - 3 && hasNextPage && !isFetching) void fetchNextPage();
          }}
        />
      )}
    </section>
  );
}

function Card({ item, onOpen }: { item: GalleryItem; onOpen(): void }) {
  const { image, pair } = item;
  return (
    <button type="button" className="card" onClick={onOpen}>
      <Thumbnail image={image} pair={pair} />
      <span className="card-phrase">
        <span className="sign" role="img" aria-label={pair.polarity}>
          {pair.polarity === "positive" ? "+" : "−"}
        </span>
        {pair.phrase}
      </span>
      <span className="card-foot">
        <VerdictMark item={item} />
        <span className="figure">{pair.score.toFixed(2)}</span>
      </span>
    </button>
  );
}

/** How many cards stand beside one another. */
function columns(cards: readonly HTMLElement[]): number {
  const top = cards[0]?.offsetTop;
  return Math.max(1, cards.filter((card) => card.offsetTop === top).length);
}
