import type { Comment } from "../api/schema";

interface Props {
  readonly comments: readonly Comment[];
  /** The task is about a whole image: each says its phrase. */
  readonly wholeImage: boolean;
}

const DECIDED: Record<Comment["kind"], string> = {
  accept: "accepted",
  reject: "rejected",
  edit: "edited",
};

/** What people wrote with earlier decisions on the pair. React puts it there as text, whatever it looks like. */
export function Comments({ comments, wholeImage }: Props) {
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
              {comment.taken_back && ", taken back"}
              {wholeImage && comment.phrases[0] && ` · ${comment.phrases[0]}`} ·{" "}
              <time dateTime={comment.written_at} title={comment.written_at}>
                {moment(comment.written_at)}
              </time>
            </p>
          </li>
        ))}
      </ol>
    </section>
  );
}

/** Nov 24, 19:51; of another year, with the year. */
export function moment(at: string, now = new Date()): string {
  const then = new Date(at);
  return then.toLocaleString("en", {
    ...(then.getFullYear() === now.getFullYear() ? {} : { year: "numeric" }),
    month: "short",
    day: "numeric",
    hour: "2-digit",
    minute: "2-digit",
    hourCycle: "h23",
  });
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
          rows={3}
          maxLength={1500}
          value={value}
          disabled={disabled}
          onChange={(event) => onChange(event.target.value)}
        />
      </label>
    </section>
  );
}
