import { expect, it, vi } from "vitest";

vi.stubGlobal("window", { addEventListener: () => undefined });

const { IDLE_SECONDS, Stopwatch } = await import("./activity");

it("counts the time between inputs, and no pauses", () => {
  const stopwatch = new Stopwatch(2);
  stopwatch.input(100);
  stopwatch.input(103);
  stopwatch.input(103 + IDLE_SECONDS + 1);
  stopwatch.input(103 + IDLE_SECONDS + 2);
  expect(stopwatch.total).toBe(2 + 3 + 1);
});

it("does not count what happens while another task is shown", () => {
  const stopwatch = new Stopwatch();
  stopwatch.input(10);
  stopwatch.pause();
  stopwatch.input(14);
  stopwatch.input(15);
  expect(stopwatch.total).toBe(1);
});
