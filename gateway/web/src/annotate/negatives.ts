import { useEffect, useState } from "react";
import { hardNegatives, type SuggestedNegative } from "../api/routes";
import type { Editor } from "../edit/editor";
import { emptyPair, UNLABELLED } from "../edit/work";
import { complain, inform } from "../ui/notices";

export interface Negatives {
  readonly open: readonly SuggestedNegative[];
  readonly looking: boolean;
  suggest(): void;
  /** The first open suggestion: absent indeed, or not to be used. */
  answer(absent: boolean): boolean;
}

/** Suggested hard negatives of an image; what a person confirms becomes a negative pair. */
export function useNegatives(editor: Editor): Negatives {
  const [open, setOpen] = useState<readonly SuggestedNegative[]>([]);
  const [refused, setRefused] = useState<readonly string[]>([]);
  const [looking, setLooking] = useState(false);

  const suggest = async (): Promise<void> => {
    const { pairs } = editor.state.work;
    const present = pairs.filter((pair) => pair.key !== UNLABELLED && pair.polarity === "positive");
    if (present.length === 0) {
      inform("Label what is there first: hard negatives are what it could be confused with.");
      return;
    }
    setLooking(true);
    try {
      const found = await hardNegatives(
        editor.task.image.id,
        present.map((pair) => pair.phrase),
      );
      const known = new Set([...pairs.map((pair) => pair.phrase), ...refused]);
      const fresh = found.filter(({ phrase }) => !known.has(phrase));
      setOpen(fresh);
      if (fresh.length === 0) inform("No further hard negatives are suggested.");
    } catch (error) {
      complain(error, "No suggestions:");
    } finally {
      setLooking(false);
    }
  };

  const answer = (absent: boolean): boolean => {
    const first = open[0];
    if (!first) return false;
    setOpen(open.slice(1));
    if (!absent) {
      setRefused([...refused, first.phrase]);
      return true;
    }
    const pair = {
      ...emptyPair(`pair-${crypto.randomUUID()}`, first.phrase),
      polarity: "negative" as const,
      hardNegative: true,
      confusedWith: first.confused_with || null,
    };
    editor.change({ work: { pairs: [...editor.state.work.pairs, pair] } });
    return true;
  };

  // What undo brings back to unsaid is suggested anew on demand only; what is a pair by now is no suggestion.
  useEffect(
    () =>
      editor.store.subscribe(({ work }) => {
        const phrases = new Set(work.pairs.map((pair) => pair.phrase));
        setOpen((before) => {
          const rest = before.filter(({ phrase }) => !phrases.has(phrase));
          return rest.length === before.length ? before : rest;
        });
      }),
    [editor],
  );

  return { open, looking, suggest: () => void suggest(), answer };
}
