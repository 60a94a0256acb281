import { useQuery } from "@tanstack/react-query";
import { type KeyboardEvent, useEffect, useId, useRef, useState } from "react";
import { phrases } from "../api/routes";

interface Props {
  readonly label: string;
  readonly initial?: string;
  /** Phrases of this image, offered first. */
  readonly near?: readonly string[];
  /** What is typed so far, to be kept. */
  onType?(text: string): void;
  onPick(phrase: string): void;
  onCancel(): void;
}

/** A phrase with completion over those used before and the ontology's: a combobox as ARIA describes it. */
export function PhraseInput({ label, initial = "", near = [], onType, onPick, onCancel }: Props) {
  const [text, setText] = useState(initial);
  const [chosen, setChosen] = useState(-1);
  const list = useId();
  const whole = useRef<HTMLDivElement>(null);
  const prefix = text.trim().toLowerCase();
  const { data: known = [] } = useQuery({
    queryKey: ["phrases", prefix],
    queryFn: ({ signal }) => phrases(prefix, signal),
    placeholderData: (before) => before,
  });
  const here = near
    .filter((phrase) => phrase.toLowerCase().includes(prefix))
    .map((phrase) => ({ phrase, note: "in this image" }));
  const others = known
    .filter(({ phrase }) => !near.includes(phrase))
    .map(({ phrase, source, count }) => ({
      phrase,
      note: source === "used" ? `used ${count}×` : "ontology",
    }));
  const options = [...here, ...others].slice(0, 9);

  const offered = options.length;
  useEffect(() => {
    if (offered > 0) whole.current?.scrollIntoView({ block: "nearest" });
  }, [offered]);

  const type = (typed: string): void => {
    setText(typed);
    setChosen(-1);
    onType?.(typed);
  };
  const onKey = (event: KeyboardEvent): void => {
    if (event.key === "ArrowDown") setChosen((at) => Math.min(options.length - 1, at + 1));
    else if (event.key === "ArrowUp") setChosen((at) => Math.max(-1, at - 1));
    else if (event.key === "Escape") onCancel();
    else if (event.key === "Tab" && chosen < 0 && options[0] && prefix) type(options[0].phrase);
    else if (event.key === "Enter" && !event.ctrlKey) {
      const phrase = (options[chosen]?.phrase ?? text).trim();
      if (phrase) onPick(phrase);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <div ref={whole} className="phrase-input">
      <input
        type="text"
        role="combobox"
        aria-label={label}
        aria-expanded={options.length > 0}
        aria-controls={list}
        aria-autocomplete="list"
        aria-activedescendant={chosen >= 0 ? `${list}-${chosen}` : undefined}
        placeholder={label}
        maxLength={120}
        spellCheck={false}
        autoComplete="off"
        value={text}
        // biome-ignore lint/a11y/noAutofocus: it opens by a key, to be typed into
        autoFocus
        onChange={(event) => type(event.target.value)}
        onKeyDown={onKey}
      />
      <div id={list} role="listbox" className="options" aria-label="Known phrases" tabIndex={-1}>
        {options.map(({ phrase, note }, index) => (
          <div
            key={phrase}
            id={`${list}-${index}`}
            role="option"
            tabIndex={-1}
            aria-selected={index === chosen}
            onMouseDown={(event) => {
              event.preventDefault();
              onPick(phrase);
            }}
          >
            <span>{phrase}</span>
            <span className="note">{note}</span>
          </div>
        ))}
      </div>
    </div>
  );
}
