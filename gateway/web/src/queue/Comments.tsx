import type { Comment } from "../api/schema";

interface Props {
  readonly comments: readonly Comment[];
}

const DECIDED: Record<Comment["kind"], string> = {
  accept: "accepted",
  reject: "rejected",
  edit: "edited",
};

/** What people wrote with earlier decisions on the pair. React puts it there as text, whatever it looks like. */
export function Comments({ comments }: Props) {
  if (comments.length === 0) return null;
  return (
    <section className="comments" aria-label="Comments">
      <h2>
        Comments<span className="count">{comments.length}</span>
      </h2>
      <ol>
        {comments.map((comment) => (
          <li key={`${comment.written_at} ${comment.annotator} ${comment.text}`}>
            <p className="said">{comment.text}</p>
            <p className="hint">
              <span title={comment.annotator}>{comment.name}</span> · {DECIDED[comment.kind]}
              {comment.taken_back && ", taken back"} ·{" "}
              <time dateTime={comment.written_at} title={comment.written_at}>
                {new Date(comment.written_at).toLocaleString("en", {
                  dateStyle: "medium",
                  timeStyle: "short",
                })}
              </time>
            </p>
          </li>
        ))}
      </ol>
    </section>
  );
}

interface WordProps {
  readonly value: string;
  readonly disabled: boolean;
  onChange(value: string): void;
}

/** Where a person writes one. */
export function Word({ value, disabled, onChange }: WordProps) {
  return (
    <section>
      <label className="word">
        A word for whoever has it next
        <textarea
          rows={2}
          maxLength={1500}
          value={value}
          disabled={disabled}
          onChange={(event) => onChange(event.target.value)}
        />
      </label>
    </section>
  );
}
