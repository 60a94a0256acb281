import { type FormEvent, useState } from "react";
import { useStore } from "zustand";
import { Refused, refusal, Unreachable, wording } from "../api/problem";
import { Mark } from "../ui/Mark";
import { type Person, session } from "./session";

export function SignIn() {
  const rejected = useStore(session, (state) => state.rejected);
  const [key, setKey] = useState("");
  const [remember, setRemember] = useState(false);
  const [problem, setProblem] = useState<string | null>(
    rejected ? "The key is no longer known to the server. Enter one that is." : null,
  );
  const [busy, setBusy] = useState(false);

  const submit = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    const token = key.trim();
    if (!token) return;
    setBusy(true);
    setProblem(null);
    try {
      session.getState().signIn(token, await whose(token), remember);
    } catch (error) {
      const unknown = error instanceof Refused && error.status === 401;
      setProblem(unknown ? "This key is not known, or was revoked." : wording(error));
    } finally {
      setBusy(false);
    }
  };

  return (
    <main className="sign-in">
      <form onSubmit={submit}>
        <h1>
          <Mark /> Tercet
        </h1>
        <label htmlFor="api-key">API key</label>
        <input
          id="api-key"
          type="password"
          autoComplete="off"
          spellCheck={false}
          placeholder="tercet_…"
          value={key}
          onChange={(event) => setKey(event.target.value)}
          aria-describedby={problem ? "sign-in-problem" : undefined}
          aria-invalid={problem !== null}
          // biome-ignore lint/a11y/noAutofocus: it is all that can be done here
          autoFocus
        />
        {problem && (
          <p id="sign-in-problem" className="problem" role="alert">
            {problem}
          </p>
        )}
        <label className="check">
          <input type="checkbox" checked={remember} onChange={(event) => setRemember(event.target.checked)} />
          Remember it on this computer
        </label>
        <button type="submit" className="button primary" disabled={busy || !key.trim()}>
          {busy ? "Signing in…" : "Sign in"}
        </button>
        <p className="hint">Your lead gives you a key. A local gateway prints one at its first start.</p>
      </form>
    </main>
  );
}

async function whose(token: string): Promise<Person> {
  let response: Response;
  try {
    response = await fetch("/v1/me", { headers: { Authorization: `Bearer ${token}` } });
  } catch {
    throw new Unreachable();
  }
  const body: unknown = await response.json().catch(() => null);
  if (!response.ok) throw refusal(response, body);
  return body as Person;
}
