import { expect, test } from "vitest";
import { moment } from "./Comments";

test("a moment says its year only where that is another one", () => {
  const at = new Date(2026, 10, 24, 19, 5);
  expect(moment(at.toISOString(), at)).toBe("Nov 24, 19:05");
  expect(moment(at.toISOString(), new Date(2027, 0, 1))).toBe("Nov 24, 2026, 19:05");
});
