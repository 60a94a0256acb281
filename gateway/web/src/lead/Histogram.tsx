import { type KeyboardEvent, type RefObject, useEffect, useId, useRef, useState } from "react";
import type { ScoreHistogram, ScoreThresholds } from "../api/schema";
import { plural, whole } from "./format";
import { around, type Bin, binsOf, top } from "./histogram";

interface Props {
  readonly scores: ScoreHistogram;
  readonly thresholds: ScoreThresholds;
  /** Shows the pairs of a bin; without it, bins only tell their numbers. */
  readonly onBin?: ((from: number, to: number) => void) | undefined;
}

const HEIGHT = 236;
const LEFT = 40;
const RIGHT = 8;
const TOP = 34;
const BOTTOM = 24;
const PLOT_HEIGHT = HEIGHT - TOP - BOTTOM;
const LEAST_WIDTH = 280;

/** Pairs by quality score, positive and negative ones, with the thresholds of the verdicts. */
export function Histogram(props: Props) {
  const { positive, negative } = props.scores;
  if ([...positive, ...negative].every((count) => count === 0)) {
    return <p className="nothing">No pair has a score yet. They come as the models work through images.</p>;
  }
  return <Drawing {...props} />;
}

function Drawing({ scores, thresholds, onBin }: Props) {
  const bins = binsOf(scores);
  const [at, setAt] = useState(bins.length - 1);
  const [shown, setShown] = useState<Bin | null>(null);
  const bars = useRef<(SVGGElement | null)[]>([]);
  const hatch = useId();
  const figure = useRef<HTMLElement>(null);
  const width = useWidth(figure);
  const highest = Math.max(0, ...bins.map((bin) => bin.positive + bin.negative));
  const pairs = bins.reduce((sum, bin) => sum + bin.positive + bin.negative, 0);
  const limit = top(highest);
  const [below, between, above] = around(bins, thresholds.review, thresholds.accept);
  const x = (score: number): number => LEFT + score * (width - LEFT - RIGHT);
  const tall = (count: number): number => (count / limit) * PLOT_HEIGHT;
  const base = TOP + PLOT_HEIGHT;

  const onKey = (event: KeyboardEvent): void => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const bin = bins[at];
    if (step !== undefined) {
      const next = Math.min(bins.length - 1, Math.max(0, at + step));
      setAt(next);
      bars.current[next]?.focus();
      event.preventDefault();
    } else if (bin && onBin && (event.key === "Enter" || event.key === " ")) {
      onBin(bin.from, bin.to);
      event.preventDefault();
    }
  };

  return (
    <figure className="histogram" ref={figure}>
      {/* biome-ignore lint/a11y/useSemanticElements: HTML's group has no place in a drawing */}
      <svg viewBox={`0 0 ${width} ${HEIGHT}`} role="group" aria-label={`Scores of ${plural(pairs, "pair")}`}>
        <defs>
          <pattern
            id={hatch}
            width="5"
            height="5"
            patternUnits="userSpaceOnUse"
            patternTransform="rotate(45)"
          >
            <rect width="5" height="5" className="negative-ground" />
            <line x1="0" y1="0" x2="0" y2="5" className="negative-hatch" />
          </pattern>
        </defs>
        {[0, 0.5, 1].map((share) => (
          <g key={share} className="axis">
            <line
              x1={LEFT}
              x2={width - RIGHT}
              y1={base - share * PLOT_HEIGHT}
              y2={base - share * PLOT_HEIGHT}
            />
            <text x={LEFT - 8} y={base - share * PLOT_HEIGHT + 4} textAnchor="end">
              {Number.isInteger(share * limit) ? whole(share * limit) : ""}
            </text>
          </g>
        ))}
        {[0, 0.2, 0.4, 0.6, 0.8, 1].map((score) => (
          <text
            key={score}
            className="axis"
            x={x(score)}
            y={HEIGHT - 6}
            textAnchor={score === 1 ? "end" : "middle"}
          >
            {score.toFixed(1)}
          </text>
        ))}
        {bins.map((bin, index) => {
          const broad = x(bin.to) - x(bin.from);
          // A single pair among thousands is still seen.
          const positive = bin.positive > 0 ? Math.max(1.5, tall(bin.positive)) : 0;
          const negative = bin.negative > 0 ? Math.max(1.5, tall(bin.negative)) : 0;
          return (
            // biome-ignore lint/a11y/useSemanticElements: HTML's button has no place in a drawing
            <g
              key={bin.from}
              ref={(node) => {
                bars.current[index] = node;
              }}
              className="bin"
              role="button"
              tabIndex={index === at ? 0 : -1}
              aria-label={`${told(bin)}${onBin ? ". Show them" : ""}`}
              aria-disabled={!onBin}
              onKeyDown={onKey}
              onClick={() => onBin?.(bin.from, bin.to)}
              onFocus={() => {
                setAt(index);
                setShown(bin);
              }}
              onBlur={() => setShown(null)}
              onPointerEnter={() => setShown(bin)}
              onPointerLeave={() => setShown(null)}
            >
              <rect className="reach" x={x(bin.from)} y={TOP} width={broad} height={PLOT_HEIGHT} />
              <rect
                className="positive"
                x={x(bin.from) + 1}
                y={base - positive}
                width={broad - 2}
                height={positive}
              />
              <rect
                fill={`url(#${hatch})`}
                x={x(bin.from) + 1}
                y={base - positive - negative}
                width={broad - 2}
                height={negative}
              />
            </g>
          );
        })}
        <Threshold
          at={x(thresholds.review)}
          label={`review from ${thresholds.review.toFixed(2)}`}
          side="left"
        />
        <Threshold
          at={x(thresholds.accept)}
          label={`accept above ${thresholds.accept.toFixed(2)}`}
          side={thresholds.accept > 0.75 ? "above" : "right"}
        />
      </svg>
      <figcaption>
        <span className="key positive">positive</span>
        <span className="key negative">negative</span>
        <span className="spring" />
        <output className="figure" data-testid="bin">
          {shown ? told(shown) : `${whole(below)} below, ${whole(between)} between, ${whole(above)} above`}
        </output>
      </figcaption>
    </figure>
  );
}

/** In pixels, so that letters keep their size however wide the drawing is. */
function useWidth(node: RefObject<HTMLElement | null>): number {
  const [width, setWidth] = useState(LEAST_WIDTH);
  useEffect(() => {
    if (!node.current) return;
    const observer = new ResizeObserver(([entry]) =>
      setWidth(Math.max(LEAST_WIDTH, entry?.contentRect.width ?? 0)),
    );
    observer.observe(node.current);
    return () => observer.disconnect();
  }, [node]);
  return width;
}

function Threshold({ at, label, side }: { at: number; label: string; side: "left" | "right" | "above" }) {
  const anchor = side === "left" ? "end" : side === "right" ? "start" : "end";
  const raised = side === "above";
  return (
    <g className="threshold">
      <line x1={at} x2={at} y1={raised ? 4 : 20} y2={TOP + PLOT_HEIGHT} />
      <text x={side === "right" ? at + 5 : at - 5} y={raised ? 12 : 28} textAnchor={anchor}>
        {label}
      </text>
    </g>
  );
}

function told(bin: Bin): string {
  return `${bin.from.toFixed(2)} to ${bin.to.toFixed(2)}: ${whole(bin.positive)} positive, ${whole(bin.negative)} negative`;
}
