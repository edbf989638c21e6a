// Todos: kept here first, sent when somebody is logged in. A todo is dirty
// while the api does not know its latest state.

import { me } from "./account.js";
import { Refused, ask } from "./request.js";
import { newKey, todos } from "./store.js";
import { limits } from "./timer.js";

const linked = 500; // the most that the api keeps for one todo

const ours = (t) => t.owner === null || t.owner === me()?.id;
const byOrder = (a, b) => a.order - b.order || (a.createdAt < b.createdAt ? -1 : 1);

export async function list() {
  return (await todos.all()).filter((t) => ours(t) && !t.deleted).sort(byOrder);
}

export async function add(text) {
  const last = (await list()).at(-1);
  const todo = {
    id: newKey(),
    key: newKey(),
    owner: me()?.id ?? null,
    text: text.slice(0, limits.text),
    completed: false,
    order: Math.floor(last?.order ?? 0) + 1,
    deleted: false,
    pomodori: [], // ids of the entries of work on it
    createdAt: new Date().toISOString(),
    dirty: true,
  };
  await todos.insert(todo);
  return todo;
}

export function edit(id, change) {
  return todos.update(id, (t) => t && { ...t, ...change, dirty: true });
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
    if (!(error instanceof Refused) || error.status === 401) throw error;
    await todos.update(first.id, (t) => t && { ...t, refused: error.problem.detail ?? String(error.status) });
    return true;
  }
  await todos.revise((all) => {
    const now = all.find((t) => t.id === first.id);
    if (!now) return {};
    const dirty = now.deleted || ["text", "order", "completed"].some((f) => now[f] !== body[f]);
    const { posted, ...rest } = now;
    return {
      put: [{ ...rest, serverId: doc.id, owner: user.id, dirty }],
      remove: all.filter((t) => t.serverId === doc.id && t.id !== now.id).map((t) => t.id),
    };
  });
  return true;
}

// update sends the changes of one todo and reports whether there was one.
export async function update(user) {
  const first = (await todos.all()).find((t) => t.serverId && t.dirty && t.owner === user.id);
  if (!first) return false;
  const { text, order, completed, deleted, pomodori } = first;
  try {
    if (deleted) await ask("DELETE", `/api/todos/${first.serverId}`);
    else await ask("PATCH", `/api/todos/${first.serverId}`, { body: { text, order, completed, deleted, pomodori } });
  } catch (error) {
    // What is gone there need not be deleted; what the api will not take stays.
    if (!(error instanceof Refused) || error.status === 401) throw error;
  }
  await todos.update(first.id, (t) => {
    const same = t && t.text === text && t.order === order && t.completed === completed && t.deleted === deleted && t.pomodori.length === pomodori.length;
    return same ? { ...t, dirty: false } : t;
  });
  return true;
}

function fromApi(doc, owner, known) {
  const { id, text, order, completed, deleted, pomodori, createdAt } = doc;
  return { id: known?.id ?? id, serverId: id, owner, text, order, completed, deleted: deleted === true, pomodori: pomodori ?? [], createdAt, dirty: false };
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
      put: docs.filter((d) => !known.get(d.id)?.dirty).map((d) => fromApi(d, owner, known.get(d.id))),
      remove: all.filter((t) => t.serverId && t.owner === owner && !t.dirty && !t.deleted && !listed.has(t.serverId)).map((t) => t.id),
    };
  });
}

// heard applies a change that another tab or device has made.
export function heard(change, owner) {
  return todos.revise((all) => {
    const known = all.find((t) => t.serverId === change.id);
    if (known?.dirty) return {};
    if (change.op === "deleted" || !change.doc) return known ? { put: [{ ...known, deleted: true }] } : {};
    return { put: [fromApi(change.doc, owner, known)] };
  });
}

// localId is what a todo of the api is called here.
export async function localId(serverId) {
  return (await todos.all()).find((t) => t.serverId === serverId)?.id ?? serverId;
}

export async function serverId(id) {
  return (await todos.get(id))?.serverId;
}
