import { expect, it, vi } from "vitest";

vi.mock("../api/client", () => ({ stream: vi.fn() }));

const { EventReader, watchJob } = await import("./events");
const { stream } = await import("../api/client");

const JOB = 'event: job\ndata: {"id":"j","images":3}\nid: 1\n\n';

it("reads events whatever pieces they come in", () => {
  const text = `retry: 2000\n\n: alive\n\n${JOB}event: end\r\ndata: {"id":"j"}\r\n\r\n`;
  const whole = new EventReader().read(text);
  expect(whole.map((event) => event.name)).toEqual(["job", "end"]);
  const reader = new EventReader();
  // A CRLF is cut in two as well.
  const pieces = [...text].flatMap((letter) => reader.read(letter));
  expect(pieces).toEqual(whole);
});

it("joins the lines of one event's data", () => {
  expect(new EventReader().read("data: a\ndata:b\n\n")).toEqual([{ name: "message", data: "a\nb" }]);
});

function streamed(...texts: string[]): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    start(controller) {
      for (const text of texts) controller.enqueue(new TextEncoder().encode(text) as Uint8Array<ArrayBuffer>);
      controller.close();
    },
  });
}

it("watches a job until it is final", async () => {
  vi.mocked(stream).mockResolvedValueOnce(streamed(JOB, 'event: end\ndata: {"id":"j","images":4}\n\n'));
  const seen: number[] = [];
  await watchJob("j", (job) => seen.push(job.images), new AbortController().signal);
  expect(seen).toEqual([3, 4]);
});

it("says so when the stream breaks off before", async () => {
  vi.mocked(stream).mockResolvedValueOnce(streamed(JOB));
  await expect(watchJob("j", () => undefined, new AbortController().signal)).rejects.toThrow("broke off");
});
