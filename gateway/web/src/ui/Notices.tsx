import { useStore } from "zustand";
import { notices } from "./notices";

export function Notices() {
  const { items, dismiss } = useStore(notices);
  return (
    <div className="notices" role="status" aria-live="polite">
      {items.map((notice) => (
        <div key={notice.id} className={`notice ${notice.tone}`}>
          <span>{notice.text}</span>
          {notice.action && (
            <button type="button" className="quiet" onClick={notice.action.run}>
              {notice.action.label}
            </button>
          )}
          <button type="button" className="quiet" aria-label="Dismiss" onClick={() => dismiss(notice.id)}>
            ×
          </button>
        </div>
      ))}
    </div>
  );
}
