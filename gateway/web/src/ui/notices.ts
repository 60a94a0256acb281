import { createStore } from "zustand/vanilla";
import { wording } from "../api/problem";

export interface Notice {
  readonly id: number;
  readonly tone: "info" | "error";
  readonly text: string;
  readonly action?: { readonly label: string; run(): void };
}

interface Notices {
  readonly items: readonly Notice[];
  show(notice: Omit<Notice, "id">): number;
  dismiss(id: number): void;
}

const SHOWN_SECONDS = 6;
const MOST = 4;
let next = 1;

/** Short messages at the corner of the page. Errors stay until they are dismissed. */
export const notices = createStore<Notices>()((set, get) => ({
  items: [],
  show(notice) {
    const same = get().items.find((item) => item.text === notice.text);
    if (same) return same.id;
    const id = next++;
    set({ items: [...get().items, { ...notice, id }].slice(-MOST) });
    if (notice.tone === "info") window.setTimeout(() => get().dismiss(id), SHOWN_SECONDS * 1000);
    return id;
  },
  dismiss(id) {
    set({ items: get().items.filter((item) => item.id !== id) });
  },
}));

export function inform(text: string): void {
  notices.getState().show({ tone: "info", text });
}

/** Shows an error; what was cancelled by us is none. */
export function complain(error: unknown, before = ""): void {
  if (error instanceof DOMException && error.name === "AbortError") return;
  notices.getState().show({ tone: "error", text: before ? `${before} ${wording(error)}` : wording(error) });
}
