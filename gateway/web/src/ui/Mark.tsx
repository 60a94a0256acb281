/** The mark: three lines, each shorter than the one above. */
export function Mark() {
  return (
    <svg className="mark" viewBox="0 0 20 16" width="20" height="16" aria-hidden="true">
      <path
        d="M2 2h16M2 8h11M2 14h6"
        fill="none"
        stroke="currentColor"
        strokeWidth="2.5"
        strokeLinecap="round"
      />
    </svg>
  );
}
