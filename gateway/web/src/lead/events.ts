/**
 * A job's server-sent events. Read by fetch, for an EventSource cannot carry the key
 * (https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream).
 */

import { stream } from "../api/client";
import type { Job } from "../api/types";

export interface SentEvent {
  readonly name: string;
  readonly data: string;
}

/** Takes the text as it comes, in pieces of any size; gives the events that are whole. */
export class EventReader {
  private rest = "";

  read(text: string): SentEvent[] {
    // A carriage return at the end may be the first half of a line's end.
    const whole = (this.rest + text).replace(/\r\n|\r(?!$)/g, "\n");
    const blocks = whole.split("\n\n");
    this.rest = blocks.pop() ?? "";
    return blocks.map(eventOf).filter((event) => event !== null);
  }
}

/** Comments, retry times and blocks without data are no events. */
function eventOf(block: string): SentEvent | null {
  let name = "message";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") name = value;
    else if (field === "data") data.push(value);
  }
  return data.length > 0 ? { name, data: data.join("\n") } : null;
}

/** Calls `heard` with the job now and after each change, until it is final. Rejects when the stream breaks off. */
export async function watchJob(jobId: string, heard: (job: Job) => void, signal: AbortSignal): Promise<void> {
  const body = await stream(`/v1/jobs/${jobId}/events`, signal);
  const texts = body.pipeThrough(new TextDecoderStream()).getReader();
  const reader = new EventReader();
  for (;;) {
    const { done, value } = await texts.read();
    if (done) throw new Error("the stream of events broke off");
    for (const event of reader.read(value)) {
      if (event.name === "job" || event.name === "end") heard(JSON.parse(event.data) as Job);
      if (event.name === "end") return void texts.cancel();
    }
  }
}
