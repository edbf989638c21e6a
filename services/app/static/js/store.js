// What must not be lost lives in IndexedDB, whose transactions also order the
// tabs: of two that record the same timer one inserts, the other is told no.
// docs/adr tells how it reaches the api.

import { tell } from "./channel.js";

let opening = null;

function open() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("pomodoro", 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("entries", { keyPath: "startedAt" });
      request.result.createObjectStore("todos", { keyPath: "id" });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

// transact runs work in one transaction and resolves, once that is durable,
// with what work handed to its second argument.
async function transact(name, mode, work) {
  const db = await open();
  return new Promise((resolve, reject) => {
    const tx = db.transaction(name, mode, { durability: mode === "readwrite" ? "strict" : "default" });
    let result;
    tx.oncomplete = () => resolve(result);
    tx.onabort = () => reject(tx.error);
    work(tx.objectStore(name), (value) => { result = value; });
  });
}

async function change(name, work) {
  const result = await transact(name, "readwrite", work);
  tell(name);
  return result;
}

function table(name) {
  return {
    // all lists what has a key in [from, to), sorted by key.
    all(from, to) {
      const range = from === undefined ? undefined : IDBKeyRange.bound(from, to, false, true);
      return transact(name, "readonly", (store, done) => {
        store.getAll(range).onsuccess = (event) => done(event.target.result);
      });
    },

    get(key) {
      return transact(name, "readonly", (store, done) => {
        store.get(key).onsuccess = (event) => done(event.target.result);
      });
    },

    // insert reports whether value is new; what is there already stays.
    insert(value) {
      return change(name, (store, done) => {
        const request = store.add(value);
        request.onsuccess = () => done(true);
        request.onerror = (event) => {
          event.preventDefault(); // the key is taken: no reason to abort
          done(false);
        };
      });
    },

    // update replaces the value of key by what f makes of it; null removes it.
    // f also gets undefined when there is none yet.
    update(key, f) {
      return change(name, (store, done) => {
        store.get(key).onsuccess = (event) => {
          const value = f(event.target.result);
          if (value) store.put(value);
          else if (event.target.result) store.delete(key);
          done(value);
        };
      });
    },

    // revise gives f all values, sorted, and stores what it returns: lists of
    // values to put and of keys to remove.
    revise(f) {
      return change(name, (store) => {
        store.getAll().onsuccess = (event) => {
          const { put = [], remove = [] } = f(event.target.result);
          for (const key of remove) store.delete(key);
          for (const value of put) store.put(value);
        };
      });
    },
  };
}

export const entries = table("entries");
export const todos = table("todos");

// newKey names a thing for ever: an Idempotency-Key or a todo.
export function newKey() {
  // randomUUID exists in secure contexts only, and a laptop may serve http.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

// saved returns the JSON value of a place in localStorage, or otherwise when
// it is not there or not JSON.
export function saved(place, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(place)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function save(place, value) {
  if (value === null) localStorage.removeItem(place);
  else localStorage.setItem(place, JSON.stringify(value));
}
