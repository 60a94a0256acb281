/** The server's clock, by the Date of its answers: a browser whose clock is wrong still knows when a lease ends. */

let ahead = 0;

export function heard(response: Response): void {
  const date = Date.parse(response.headers.get("Date") ?? "");
  if (!Number.isNaN(date)) ahead = date - Date.now();
}

/** Milliseconds. */
export function serverNow(): number {
  return Date.now() + ahead;
}
