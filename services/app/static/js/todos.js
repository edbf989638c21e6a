// Todos: kept here first, sent when somebody is logged in. A todo is dirty
// while the api does not know its latest state, and has in known what the api
// does know.

import { me } from "./account.js";
import { ask, isFinal, why } from "./request.js";
import { newKey, todos } from "./store.js";
import { limits } from "./timer.js";

const linked = 500; // the most that the api keeps for one todo

const ours = (t) => t.owner === null || t.owner === me()?.id;
const byOrder = (a, b) => a.order - b.order || (a.createdAt < b.createdAt ? -1 : 1);

// shared is what all devices know of a todo.
const shared = ({ text, order, completed, deleted, pomodori }) => ({ text, order, completed, deleted: deleted === true, pomodori: pomodori ?? [] });
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

const listed = (all) => all.filter((t) => ours(t) && !t.deleted).sort(byOrder);

export async function list() {
  return listed(await todos.all());
}

export async function add(text) {
  const todo = {
    id: newKey(),
    key: newKey(),
    owner: me()?.id ?? null,
    text: text.slice(0, limits.text),
    completed: false,
    deleted: false,
    pomodori: [], // ids of the entries of work on it
    createdAt: new Date().toISOString(),
    dirty: true,
  };
  // In one transaction: of two that are added at once each has a place of its own.
  await todos.revise((all) => {
    todo.order = Math.floor(listed(all).at(-1)?.order ?? 0) + 1;
    return { put: [todo] };
  });
  return todo;
}

export function edit(id, change) {
  return todos.update(id, (t) => t && { ...t, ...change, dirty: true, refused: undefined });
}

// move puts a todo at index among the others of the list.
export async function move(id, index) {
  const others = (await list()).filter((t) => t.id !== id);
  const before = others[index - 1]?.order;
  const after = others[index]?.order;
  let order;
  if (before === undefined) order = (after ?? 1) - 1;
  else if (after === undefined) order = before + 1;
  else order = (before + after) / 2;
  if (order === before || order === after) {
    // No number is left between the two: all get new ones.
    for (const [i, t] of others.entries()) await edit(t.id, { order: i < index ? i : i + 1 });
    order = index;
  }
  return edit(id, { order });
}

// create posts the oldest todo that the api has not seen, and reports whether
// there was one.
export async function create(user) {
  const first = (await todos.all())
    .filter((t) => !t.serverId && t.dirty && !t.refused && (t.owner === null || t.owner === user.id))
    .sort((a, b) => (a.createdAt < b.createdAt ? -1 : 1))
    .find((t) => !t.deleted || t.posted);
  if (!first) return false;
  // An answer may be lost on the way: the same body goes out under the same
  // key, and what has changed since follows as a change.
  const body = first.posted ?? { text: first.text, order: first.order, completed: first.completed };
  if (!first.posted) await todos.update(first.id, (t) => t && { ...t, posted: body });
  let doc;
  try {
    doc = await ask("POST", "/api/todos", { body, key: first.key });
  } catch (error) {
    if (!isFinal(error)) throw error;
    await todos.update(first.id, (t) => t && { ...t, refused: why(error), posted: undefined, key: newKey() });
    return true;
  }
  await todos.revise((all) => {
    const now = all.find((t) => t.id === first.id);
    if (!now) return {};
    const { posted, ...rest } = now;
    return {
      put: [merged({ ...rest, serverId: doc.id, owner: user.id, known: { ...body, deleted: false, pomodori: [] } }, doc)],
      remove: all.filter((t) => t.serverId === doc.id && t.id !== now.id).map((t) => t.id),
    };
  });
  return true;
}

// update sends the changes of one todo and reports whether there was one.
export async function update(user) {
  const first = (await todos.all()).find((t) => t.serverId && t.dirty && !t.refused && t.owner === user.id);
  if (!first) return false;
  let doc;
  try {
    doc = await send(first);
  } catch (error) {
    if (!isFinal(error) && error.status !== 404) throw error;
    await todos.update(first.id, (t) => t && { ...t, refused: why(error) });
    return true;
  }
  // What was sent is known there now; what has changed here since is not.
  await todos.update(first.id, (t) => t && merged({ ...t, known: shared(first) }, doc));
  return true;
}

// send tells the api what differs from what it knows, and nothing else: another
// device may have changed the rest. It resolves with the todo as it is there.
async function send(todo) {
  const path = `/api/todos/${todo.serverId}`;
  if (!todo.deleted) return ask("PATCH", path, { body: changes(todo) });
  try {
    await ask("DELETE", path);
  } catch (error) {
    if (error.status !== 404) throw error; // what is gone there need not be deleted
  }
  return todo;
}

// changes are the fields of a todo that the api does not know. One that an
// earlier version of this page has left dirty is sent whole.
function changes(todo) {
  const known = todo.known ?? (todo.dirty ? {} : todo);
  return Object.fromEntries(Object.entries(shared(todo)).filter(([name, value]) => !same(value, known[name])));
}

// merged is a todo with what the api has now in all that was not changed here
// since the api knew of it. A deletion there stands.
function merged(todo, doc) {
  const theirs = shared(doc);
  const ours = changes(todo);
  const now = theirs.deleted && !("deleted" in ours) ? theirs : { ...theirs, ...ours };
  const dirty = !same(now, theirs);
  return { ...todo, ...now, known: theirs, dirty, refused: dirty ? todo.refused : undefined };
}

// fromApi is the todo of the api as it is kept here: a new one, or known with
// the changes that the api does not know yet.
function fromApi(doc, owner, known) {
  if (known?.dirty) return merged(known, doc);
  const now = shared(doc);
  return { id: known?.id ?? doc.id, serverId: doc.id, owner, ...now, known: now, createdAt: doc.createdAt, dirty: false };
}

// link notes an entry of work on a todo, which is named as here or as there.
export async function link(id, entryId) {
  const todo = (await todos.all()).find((t) => t.id === id || t.serverId === id);
  if (todo && !todo.pomodori.includes(entryId)) await edit(todo.id, { pomodori: [...todo.pomodori, entryId].slice(-linked) });
}

// receive puts what the api lists in place of what was known, but for what it
// does not know yet.
export function receive(docs, owner) {
  return todos.revise((all) => {
    const known = new Map(all.filter((t) => t.serverId).map((t) => [t.serverId, t]));
    const listed = new Set(docs.map((d) => d.id));
    return {
      put: docs.map((d) => fromApi(d, owner, known.get(d.id))),
      remove: all.filter((t) => t.serverId && t.owner === owner && !t.dirty && !t.deleted && !listed.has(t.serverId)).map((t) => t.id),
    };
  });
}

// heard applies a change that another tab or device has made.
export function heard(change, owner) {
  return todos.revise((all) => {
    const known = all.find((t) => t.serverId === change.id);
    if (change.op !== "deleted" && change.doc) return { put: [fromApi(change.doc, owner, known)] };
    return known ? { put: [merged(known, { ...(known.known ?? known), deleted: true })] } : {};
  });
}

// refused lists the todos that the api does not take as they are.
export async function refused() {
  return (await todos.all()).filter((t) => ours(t) && t.refused);
}

// dismiss gives up what the api does not take: the todo is as the api has it.
export function dismiss(id) {
  return todos.update(id, (t) => {
    if (!t?.refused) return t;
    const { refused: _, ...rest } = t;
    return t.known ? { ...rest, ...t.known, dirty: false } : null;
  });
}

// localId is what a todo of the api is called here.
export async function localId(serverId) {
  return (await todos.all()).find((t) => t.serverId === serverId)?.id ?? serverId;
}

export async function serverId(id) {
  return (await todos.get(id))?.serverId;
}
