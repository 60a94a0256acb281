import createClient from "openapi-fetch";
import { session } from "../app/session";
import { heard } from "./clock";
import { Refused, refusal, Unreachable } from "./problem";
import type { paths } from "./schema";

const REQUEST_SECONDS = 60;

/** Typed calls of the gateway's REST API; each is to be passed through `answered`. */
export const api = createClient<paths>({ baseUrl: window.location.origin, fetch: authorised });

/**
 * The answer's data, as the schema that the caller names (openapi-fetch's own answer types turn tuples into arrays).
 * Throws `Refused` for a problem and `Unreachable` where no answer came.
 */
export async function answered<T>(
  call: Promise<{ data?: unknown; error?: unknown; response: Response }>,
): Promise<T> {
  const { data, error, response } = await call;
  if (response.ok) return data as T;
  const refused = refusal(response, error);
  if (refused.status === 401) session.getState().reject();
  throw refused;
}

/** Bytes of an image's picture. */
export function picture(imageId: string): Promise<Blob> {
  return bytes(`/v1/images/${imageId}/content`);
}

/** Bytes of an image's picture for a list. */
export function thumbnail(imageId: string, side: 128 | 256 | 512): Promise<Blob> {
  return bytes(`/v1/images/${imageId}/thumbnail?side=${side}`);
}

async function bytes(path: string): Promise<Blob> {
  const response = await authorised(new Request(window.location.origin + path));
  if (!response.ok) throw refusal(response, await response.json().catch(() => null));
  return response.blob();
}

/** An answer that goes on coming, such as server-sent events: without the time limit of the others. */
export async function stream(
  path: string,
  signal: AbortSignal,
): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const { key } = session.getState();
  const headers = new Headers(key ? { Authorization: `Bearer ${key}` } : undefined);
  const response = await fetch(`${window.location.origin}${path}`, { headers, signal });
  if (!response.ok) throw refusal(response, await response.json().catch(() => null));
  if (!response.body) throw new Unreachable();
  return response.body;
}

async function authorised(request: Request): Promise<Response> {
  const { key } = session.getState();
  if (key) request.headers.set("Authorization", `Bearer ${key}`);
  const limit = AbortSignal.timeout(REQUEST_SECONDS * 1000);
  try {
    const response = await fetch(new Request(request, { signal: AbortSignal.any([request.signal, limit]) }));
    heard(response);
    return response;
  } catch (error) {
    if (request.signal.aborted) throw error;
    throw new Unreachable();
  }
}

export { Refused, Unreachable };
