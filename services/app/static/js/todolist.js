// The list of todos on the page.

import { me } from "./account.js";
import { arrange, at, count, make, text } from "./dom.js";
import { hear } from "./channel.js";
import { announce, say } from "./notice.js";
import { between } from "./entries.js";
import * as running from "./running.js";
import { save, saved } from "./store.js";
import { isWork, limits } from "./timer.js";
import * as todos from "./todos.js";

const rows = new Map(); // id → the elements of a todo
const place = "pomodoro.todo"; // the todo that the next work is for

const user = () => me()?.id ?? null;

// chosen is the todo that the running or the next work is for, unless somebody
// else chose it before a session ended.
export function chosen() {
  const timer = running.running();
  if (timer && isWork(timer)) return timer.todo;
  const { id, owner } = saved(place, {});
  return owner === null || owner === user() ? id : undefined;
}

// forget leaves no todo chosen.
export function forget() {
  save(place, null);
  show();
}

function choose(id) {
  save(place, id ? { id, owner: user() } : null);
  const timer = running.running();
  if (timer && isWork(timer)) running.amend({ todo: id });
  show();
}

let drawing = Promise.resolve();

// show draws the list as it is stored; one drawing at a time, so that an older
// list never comes after a newer one.
export function show() {
  drawing = drawing.then(draw, draw);
  return drawing;
}

async function draw() {
  const list = await todos.list();
  const spent = await pomodori();
  const now = chosen();
  for (const id of rows.keys()) if (!list.some((t) => t.id === id)) rows.delete(id);
  for (const todo of list) {
    if (!rows.has(todo.id)) rows.set(todo.id, row(todo.id));
    const known = (spent.get(todo.id) ?? 0) + (spent.get(todo.serverId) ?? 0);
    rows.get(todo.id).show(todo, todo.id === now, Math.max(known, todo.pomodori.length));
  }
  if (!dragged) arrange(at("todos"), list.map((t) => rows.get(t.id).element));
  at("no-todos").hidden = list.length > 0;
  const current = list.find((t) => t.id === now);
  const working = running.running() && isWork(running.running());
  text(at("working-on"), current ? `${working ? "For" : "Next"}: ${current.text}` : "");
  at("working-on").hidden = !current;
}

// pomodori counts the finished work of each todo, by its id, as far as this
// browser knows of it.
async function pomodori() {
  const counts = new Map();
  for (const e of await between(0, Date.now() + 86_400_000)) {
    if (e.todo && !e.cancelledAt && isWork(e)) counts.set(e.todo, (counts.get(e.todo) ?? 0) + 1);
  }
  return counts;
}

function row(id) {
  let todo;
  const done = make("input", { type: "checkbox", onchange: () => todos.edit(id, { completed: done.checked }) });
  const label = make("button", { type: "button", className: "todo-text", onclick: () => rewrite(element, todo) });
  const linked = make("span", { className: "todo-count" });
  const focus = make("button", { type: "button", className: "todo-focus", onclick: () => choose(chosen() === id ? undefined : id) }, "◎");
  const handle = make("button", { type: "button", className: "todo-handle", onkeydown: (event) => step(event, id), onpointerdown: (event) => drag(event, id) }, "⠿");
  const remove = make("button", { type: "button", className: "todo-remove", onclick: () => discard(todo) }, "×");
  const element = make("li", {}, handle, done, label, linked, focus, remove);
  return {
    element,
    show(t, current, pomodori) {
      todo = t;
      done.checked = t.completed;
      element.classList.toggle("completed", t.completed);
      text(label, t.text);
      text(linked, pomodori ? count(pomodori, "pomodoro", "pomodori") : "");
      done.setAttribute("aria-label", `Done: ${t.text}`);
      label.setAttribute("aria-label", `Edit: ${t.text}`);
      focus.setAttribute("aria-label", `Work on: ${t.text}`);
      focus.setAttribute("aria-pressed", String(current));
      focus.title = "Work on this";
      handle.setAttribute("aria-label", `Move: ${t.text}. Up and down arrow keys`);
      handle.title = "Drag, or use the arrow keys";
      remove.setAttribute("aria-label", `Delete: ${t.text}`);
    },
  };
}

// rewrite turns the text into a field until it is left; Escape gives up.
function rewrite(element, todo) {
  const label = element.querySelector(".todo-text");
  const field = make("input", { className: "todo-edit", value: todo.text, maxLength: limits.text, "aria-label": "Text of the todo" });
  let ended = false;
  const end = async (keep, refocus) => {
    if (ended) return;
    ended = true;
    const written = field.value.trim();
    if (keep && written && written !== todo.text) await todos.edit(todo.id, { text: written });
    field.replaceWith(label);
    if (refocus) label.focus();
  };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") end(true, true);
    if (event.key === "Escape") end(false, true);
  });
  field.addEventListener("blur", () => end(true, false));
  label.replaceWith(field);
  field.focus();
}

async function discard(todo) {
  const next = rows.get(todo.id).element.nextElementSibling ?? rows.get(todo.id).element.previousElementSibling;
  if (chosen() === todo.id) choose(undefined);
  await todos.edit(todo.id, { deleted: true });
  (next?.querySelector(".todo-remove") ?? at("todo")).focus();
  say(`Deleted “${todo.text}”`, async () => {
    await todos.edit(todo.id, { deleted: false });
    await show();
    rows.get(todo.id)?.element.querySelector(".todo-text").focus();
  });
}

async function step(event, id) {
  const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (!by) return;
  event.preventDefault();
  const list = await todos.list();
  const to = list.findIndex((t) => t.id === id) + by;
  if (to < 0 || to >= list.length) return;
  await todos.move(id, to);
  announce(`Moved to place ${to + 1} of ${list.length}`);
}

let dragged = null;

// drag follows the pointer, a finger as well as a mouse, and stores the place
// where it is let go. It listens on the document: an element that is moved
// loses the capture of the pointer.
function drag(event, id) {
  if (event.button !== 0) return;
  event.preventDefault(); // no selection of text on the way
  event.currentTarget.focus();
  const { element } = rows.get(id);
  const listening = new AbortController();
  const on = (name, f) => document.addEventListener(name, f, { signal: listening.signal });
  dragged = element;
  element.classList.add("dragged");
  on("pointermove", (move) => {
    const others = [...at("todos").children].filter((e) => e !== element);
    const below = others.find((e) => move.clientY < e.getBoundingClientRect().top + e.offsetHeight / 2) ?? null;
    if (below !== element.nextElementSibling) at("todos").insertBefore(element, below);
  });
  const drop = async (end) => {
    listening.abort();
    try {
      if (end.type === "pointerup") await todos.move(id, [...at("todos").children].indexOf(element));
    } finally {
      element.classList.remove("dragged");
      dragged = null;
      show();
    }
  };
  on("pointerup", drop);
  on("pointercancel", drop);
}

export function begin() {
  at("todo-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const field = at("todo");
    const written = field.value.trim();
    if (!written) return;
    field.value = "";
    await todos.add(written);
    announce(`Added ${written}`);
  });
  for (const subject of ["todos", "entries", "timer", "user"]) hear(subject, show);
  show();
}
