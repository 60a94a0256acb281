import { createStore } from "zustand/vanilla";

export type Role = "submitter" | "annotator" | "verifier" | "lead" | "admin";

/** Who works here: `/v1/me` of the key. */
export interface Person {
  readonly key_id: string;
  readonly name: string;
  readonly tenant: string;
  readonly roles: readonly Role[];
}

interface Session {
  readonly key: string | null;
  readonly person: Person | null;
  /** The key was refused. */
  readonly rejected: boolean;
  signIn(key: string, person: Person, remember: boolean): void;
  know(person: Person): void;
  signOut(): void;
  reject(): void;
}

const NAME = "tercet.key";

/** The key lives in this tab, or, where the person asked for it, on this computer. */
export const session = createStore<Session>()((set) => ({
  key: sessionStorage.getItem(NAME) ?? localStorage.getItem(NAME),
  person: null,
  rejected: false,
  signIn(key, person, remember) {
    sessionStorage.setItem(NAME, key);
    if (remember) localStorage.setItem(NAME, key);
    else localStorage.removeItem(NAME);
    set({ key, person, rejected: false });
  },
  know(person) {
    set({ person });
  },
  signOut() {
    forget();
    set({ key: null, person: null, rejected: false });
  },
  reject() {
    forget();
    set({ key: null, person: null, rejected: true });
  },
}));

// What a role may do besides what it is called; the server has the same rule.
const INCLUDED: Partial<Record<Role, readonly Role[]>> = {
  admin: ["submitter", "annotator", "verifier", "lead", "admin"],
  lead: ["submitter", "annotator", "verifier", "lead"],
};

/** Whether the person has one of the roles, or one that includes them. Only for what is shown. */
export function may(person: Person | null, ...roles: Role[]): boolean {
  return (person?.roles ?? []).some((held) =>
    (INCLUDED[held] ?? [held]).some((role) => roles.includes(role)),
  );
}

function forget(): void {
  sessionStorage.removeItem(NAME);
  localStorage.removeItem(NAME);
}
