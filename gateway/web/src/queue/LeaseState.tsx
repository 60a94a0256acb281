import { useEffect, useState } from "react";
import { serverNow } from "../api/clock";
import type { Desk, Held } from "./desk";

const SHOWN_BELOW = 60;

/** Says when the task is about to go back to the others, and when it has gone. */
export function LeaseState({ desk, held }: { desk: Desk; held: Held }) {
  const [left, setLeft] = useState(secondsLeft(held));
  useEffect(() => {
    setLeft(secondsLeft(held));
    const timer = window.setInterval(() => setLeft(secondsLeft(held)), 1000);
    return () => window.clearInterval(timer);
  }, [held]);
  if (held.decided) return null;
  if (held.lost !== null) {
    return (
      <div className="banner" role="alert" data-testid="lease-lost">
        <span>
          <strong>This task is no longer yours.</strong> {sentence(held.lost)} What you have drawn is kept.
        </span>
        <button type="button" className="button" onClick={() => void desk.retake(held)}>
          Take it back
        </button>
        <button type="button" className="quiet" onClick={() => desk.abandon(held.task.id)}>
          Leave it
        </button>
      </div>
    );
  }
  if (left > SHOWN_BELOW) return null;
  return (
    <div className="banner mild" role="status">
      {left > 0
        ? `Held for ${left} s more unless you go on.`
        : "The time of this task has run out; taking it back…"}
    </div>
  );
}

function sentence(reason: string): string {
  return `${reason.charAt(0).toUpperCase()}${reason.slice(1)}${/[.!?]$/.test(reason) ? "" : "."}`;
}

function secondsLeft(held: Held): number {
  return Math.max(0, Math.round((held.expiresAt - serverNow()) / 1000));
}
