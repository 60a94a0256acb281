/**
 * Active time: the stretches between two inputs that are no longer apart than `IDLE_SECONDS`. Longer pauses do not
 * count at all, nor does time in which the page is hidden.
 */
export const IDLE_SECONDS = 15;

export class Stopwatch {
  private seconds: number;
  private last: number | null = null;

  constructor(before = 0) {
    this.seconds = before;
  }

  /** An input at `now` (in seconds). */
  input(now: number): void {
    if (this.last !== null && now - this.last <= IDLE_SECONDS) this.seconds += Math.max(0, now - this.last);
    this.last = now;
  }

  /** The task is out of sight: the time until the next input is not this task's. */
  pause(): void {
    this.last = null;
  }

  get total(): number {
    return this.seconds;
  }
}

const INPUTS = ["pointerdown", "pointermove", "wheel", "keydown"] as const;
let watched: Stopwatch | null = null;
let lastInput = performance.now();

/** The watch that inputs of the page count for. A task that comes into sight counts from now on. */
export function watch(stopwatch: Stopwatch | null): void {
  watched?.pause();
  watched = stopwatch;
  watched?.input(performance.now() / 1000);
}

/** Seconds since the person last did anything here. */
export function idleSeconds(): number {
  return (performance.now() - lastInput) / 1000;
}

/** Called once by the page. */
export function listenToActivity(): void {
  for (const name of INPUTS) {
    window.addEventListener(
      name,
      () => {
        lastInput = performance.now();
        watched?.input(lastInput / 1000);
      },
      { capture: true, passive: true },
    );
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) watched?.pause();
    else watched?.input(performance.now() / 1000);
  });
}
