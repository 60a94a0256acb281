import { Suspense, useEffect, useState } from "react";
import { Redirect, Route, Router, Switch } from "wouter";
import { useHashLocation } from "wouter/use-hash-location";
import { useStore } from "zustand";
import { Unreachable } from "../api/problem";
import { me } from "../api/routes";
import { KeysOverlay } from "../keys/KeysOverlay";
import { useKeys } from "../keys/useKeys";
import { openOutbox } from "../queue/outbox";
import { Notices } from "../ui/Notices";
import { complain } from "../ui/notices";
import { Header } from "./Header";
import { PAGES } from "./pages";
import { SignIn } from "./SignIn";
import { may, session } from "./session";

export function App() {
  const { key, person } = useStore(session);
  const [keysShown, setKeysShown] = useState(false);

  useEffect(() => {
    if (!key || person) return;
    let current = true;
    let timer = 0;
    const ask = (): void => {
      me().then(
        (found) => current && session.getState().know(found),
        (error) => {
          if (!current || !session.getState().key) return;
          complain(error);
          if (error instanceof Unreachable) timer = window.setTimeout(ask, 2000);
          else session.getState().signOut();
        },
      );
    };
    ask();
    return () => {
      current = false;
      window.clearTimeout(timer);
    };
  }, [key, person]);

  useEffect(() => {
    if (person) void openOutbox(person.key_id);
  }, [person]);

  useKeys("everywhere", { keys: () => setKeysShown(true), region: nextRegion });

  if (!key) return <SignIn />;
  if (!person) return <main className="waiting" aria-busy="true" />;
  const pages = PAGES.filter((page) => may(person, ...page.roles));
  return (
    <Router hook={useHashLocation}>
      <div className="shell">
        <Header pages={pages} person={person} onKeys={() => setKeysShown(true)} />
        <Suspense fallback={<main className="waiting" aria-busy="true" />}>
          <Switch>
            {pages.map(({ path, Page }) => (
              <Route key={path} path={path}>
                <Page />
              </Route>
            ))}
            <Route>{pages[0] ? <Redirect to={pages[0].path} /> : <NothingToDo roles={person.roles} />}</Route>
          </Switch>
        </Suspense>
        <Notices />
        {keysShown && <KeysOverlay onClose={() => setKeysShown(false)} />}
      </div>
    </Router>
  );
}

function NothingToDo({ roles }: { roles: readonly string[] }) {
  return (
    <main className="message">
      <h1>Nothing to do here with this key</h1>
      <p>Its roles are {roles.join(", ")}. The pages are for annotators, verifiers and leads.</p>
    </main>
  );
}

/** The focus goes to the next of the page's parts: header, image, panel. */
function nextRegion(): void {
  const regions = [...document.querySelectorAll<HTMLElement>("[data-region]")];
  const at = regions.findIndex((region) => region.contains(document.activeElement));
  const next = regions[(at + 1) % regions.length];
  const target = next?.querySelector<HTMLElement>(".canvas, button:not(:disabled), a[href], input");
  target?.focus();
}
