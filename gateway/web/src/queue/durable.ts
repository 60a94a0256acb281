/**
 * What must not be lost on a reload: small values at once in localStorage, which is written before the page is gone;
 * what does not fit there in IndexedDB.
 */

const PREFIX = "tercet.";
const DATABASE = "tercet";
const STORE = "kept";
const MOST_CHARACTERS = 400_000;

export async function keep(name: string, value: unknown): Promise<void> {
  const text = JSON.stringify(value);
  if (text.length <= MOST_CHARACTERS) {
    try {
      localStorage.setItem(PREFIX + name, text);
      await run("readwrite", (store) => store.delete(name)).catch(() => undefined);
      return;
    } catch {
      // Full: what is there goes to the database below.
    }
  }
  await run("readwrite", (store) => store.put(text, name));
  localStorage.removeItem(PREFIX + name);
}

export async function kept<T>(name: string): Promise<T | null> {
  const text = localStorage.getItem(PREFIX + name) ?? (await run("readonly", (store) => store.get(name)));
  if (typeof text !== "string") return null;
  try {
    return JSON.parse(text) as T;
  } catch {
    return null;
  }
}

export async function forget(name: string): Promise<void> {
  localStorage.removeItem(PREFIX + name);
  await run("readwrite", (store) => store.delete(name));
}

let opened: Promise<IDBDatabase> | null = null;

function database(): Promise<IDBDatabase> {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

async function run(mode: IDBTransactionMode, what: (store: IDBObjectStore) => IDBRequest): Promise<unknown> {
  const transaction = (await database()).transaction(STORE, mode);
  const request = what(transaction.objectStore(STORE));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = () => reject(transaction.error);
    transaction.onabort = () => reject(transaction.error);
  });
}
