import { useEffect, useRef } from "react";
import type { WorkPair } from "../edit/work";
import { Dialog } from "../ui/Dialog";
import { KeyCombo } from "../ui/Keys";

interface Props {
  readonly pairs: readonly WorkPair[];
  onAnswer(key: string, complete: boolean): void;
  onDone(): void;
  onClose(): void;
}

/** Asks of each pair whether all of its instances are marked: Y or N, one key a pair. */
export function CompleteDialog({ pairs, onAnswer, onDone, onClose }: Props) {
  const asked = pairs.find((pair) => pair.complete === null);
  const done = useRef(onDone);
  done.current = onDone;
  useEffect(() => {
    if (!asked) done.current();
  }, [asked]);
  useEffect(() => {
    if (!asked) return;
    const onKey = (event: KeyboardEvent): void => {
      const key = event.key.toLowerCase();
      if (event.ctrlKey || event.metaKey || event.altKey || (key !== "y" && key !== "n")) return;
      event.preventDefault();
      onAnswer(asked.key, key === "y");
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [asked, onAnswer]);
  if (!asked) return null;
  const left = pairs.filter((pair) => pair.complete === null).length;
  return (
    <Dialog title="All instances marked?" onClose={onClose}>
      <p className="asked" data-testid="asked">
        Is every <strong>{asked.phrase}</strong> in the image marked?
      </p>
      <div className="row">
        <button type="button" className="button primary" onClick={() => onAnswer(asked.key, true)}>
          Yes, all <KeyCombo combo="Y" />
        </button>
        <button type="button" className="button" onClick={() => onAnswer(asked.key, false)}>
          No, or not sure <KeyCombo combo="N" />
        </button>
      </div>
      <p className="hint">
        {left > 1 ? `${left - 1} more to ask; then it is submitted.` : "Then it is submitted."}
      </p>
    </Dialog>
  );
}
