// Entries as the pages see them: those of the visitor, in order of their start.

import { me } from "./account.js";
import { ask, isFinal, why } from "./request.js";
import { entries, newKey, todos } from "./store.js";
import { iso } from "./timer.js";
import { link } from "./todos.js";

const ours = (e) => e.owner === null || e.owner === me()?.id;

// between lists entries that start in [from, to), in milliseconds, without
// those that the api has refused.
export async function between(from, to) {
  return (await entries.all(iso(from), iso(to))).filter((e) => ours(e) && !e.refused);
}

export async function refused() {
  return (await entries.all()).filter((e) => ours(e) && e.refused);
}

export async function waiting() {
  return (await entries.all()).filter((e) => ours(e) && !e.sent && !e.refused).length;
}

export function dismiss(startedAt) {
  return entries.update(startedAt, (e) => (e?.refused ? null : e));
}

// fromApi is an entry as it is kept here: the api's times have no fixed number
// of digits, and the key of the store must be the same for the same instant.
export function fromApi(doc, owner) {
  return { ...doc, startedAt: iso(Date.parse(doc.startedAt)), ...(doc.cancelledAt && { cancelledAt: iso(Date.parse(doc.cancelledAt)) }), owner, sent: true };
}

// sendFirst posts the oldest entry that waits and reports whether there was one.
export async function sendFirst(user) {
  const all = await entries.all();
  const first = all.find((e) => !e.sent && !e.refused && (e.owner === null || e.owner === user.id));
  if (!first) return false;
  const doc = await ask("POST", "/api/pomodoro", { body: await body(first), key: first.key }).catch((error) => settle(first, error));
  await entries.update(first.startedAt, (e) => {
    if (doc.again) return { ...e, key: newKey(), again: true };
    if (doc.refused) return { ...e, ...doc, owner: user.id };
    return { ...fromApi({ ...e, ...doc }, user.id), startedAt: first.startedAt };
  });
  if (doc.id && first.todo) await link(first.todo, doc.id);
  return true;
}

// settle decides what an answer that is no success means for an entry: stored
// before, to be tried once more under a new key, or refused for good. A
// refused one is kept and shown.
function settle(entry, error) {
  const { status, problem } = error;
  if (status === 409) {
    const same = problem.conflicts?.find((c) => Date.parse(c.startedAt) === Date.parse(entry.startedAt));
    return same ?? { refused: "it overlaps with another entry" };
  }
  if (status === 422 && problem.fields?.["Idempotency-Key"] && !entry.again) return { again: true };
  if (isFinal(error)) return { refused: why(error) };
  throw error;
}

async function body({ type, minutes, startedAt, cancelledAt, tags, distractions, todo }) {
  const id = todo && (await todos.get(todo))?.serverId;
  return { type, minutes, startedAt, ...(cancelledAt && { cancelledAt }), tags, distractions, ...(id && { todo: id }) };
}

// receive puts what the api lists since a time in place of what was known.
export function receive(docs, since, owner) {
  const fresh = new Map(docs.map((d) => [iso(Date.parse(d.startedAt)), fromApi(d, owner)]));
  return entries.revise((known) => ({
    put: [...fresh.values()],
    remove: known.filter((e) => e.sent && e.owner === owner && e.startedAt >= since && !fresh.has(e.startedAt)).map((e) => e.startedAt),
  }));
}

// heard applies a change that another tab or device has made. It may have moved
// the start, which is the key here; an entry that waits stays.
export function heard(change, owner) {
  const doc = change.op !== "deleted" && change.doc ? fromApi(change.doc, owner) : null;
  return entries.revise((known) => ({
    put: doc && !known.some((e) => e.startedAt === doc.startedAt && !e.sent) ? [doc] : [],
    remove: known.filter((e) => e.id === change.id).map((e) => e.startedAt),
  }));
}
