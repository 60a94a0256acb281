import type { Problem } from "./schema";

/** The gateway refused: RFC 9457 problem details. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly retryAfter: number | null = null,
  ) {
    super(detail);
  }

  /** Whether the same request may work later. */
  get passing(): boolean {
    return this.status === 429 || this.status >= 500 || this.status === 408;
  }
}

/** The gateway could not be reached, or its answer was cut off. */
export class Unreachable extends Error {
  constructor() {
    super("The server cannot be reached.");
  }
}

export function refusal(response: Response, body: unknown): Refused {
  const problem = (typeof body === "object" && body !== null ? body : {}) as Partial<Problem>;
  const retry = Number(response.headers.get("Retry-After"));
  return new Refused(
    response.status,
    problem.code ?? "unknown",
    problem.detail ?? problem.title ?? `The server answered ${response.status}.`,
    Number.isFinite(retry) && retry > 0 ? retry : null,
  );
}

/** What to tell a person about an error. */
export function wording(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
