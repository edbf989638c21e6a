// Between this browser and the api: one tab, the leader, sends what waits and
// listens to what other devices do; the others see the store change. The next
// tab leads when it closes.

import * as account from "./account.js";
import { hear } from "./channel.js";
import * as entries from "./entries.js";
import { Refused, Unreachable, ask, isFinal, pause } from "./request.js";
import * as running from "./running.js";
import * as store from "./store.js";
import * as tags from "./tags.js";
import * as todolist from "./todolist.js";
import * as todos from "./todos.js";
import { iso } from "./timer.js";

const openTime = 3000; // for the event stream, before a pull does without it
const horizon = 35 * 86_400_000; // how far back entries are kept for offline use

let chain = Promise.resolve(); // pushes, pulls and events, one at a time
let failures = 0;
let notBefore = 0; // what the last failure asks to wait for
let retry = 0; // the timeout of the next push, 0 when none is due
let pulledFor = null; // the user whose data has been pulled
let events = null;
let eventsFor = null; // the user whose events they are
let mayPull = false; // the stream of that user is open, or has had its time to open

// run makes this tab the leader once no other is.
export function run() {
  if (!navigator.locks) return lead();
  navigator.locks.request("pomodoro.leader", () => {
    lead();
    return new Promise(() => {}); // held until the tab closes
  });
}

function lead() {
  for (const subject of ["entries", "todos", "timer", "user"]) hear(subject, () => retry || wake(20));
  addEventListener("online", () => {
    failures = notBefore = 0;
    wake(0);
  });
  wake(0);
}

// wake sees to it that what waits is sent after a while: many changes, one run.
function wake(after) {
  clearTimeout(retry);
  retry = setTimeout(() => {
    retry = 0;
    serially(exchange);
  }, after);
}

function serially(work) {
  chain = chain.then(work).catch(failed);
}

function failed(error) {
  if (error instanceof Refused && error.status === 401) {
    account.ended();
    return;
  }
  if (!(error instanceof Unreachable)) console.error(error); // a defect, here or in the api
  const wait = pause(failures++, error.after);
  notBefore = Date.now() + wait;
  if (navigator.onLine) wake(wait); // otherwise an event tells when
}

async function exchange() {
  const user = account.me();
  if (!user) {
    hangUp();
    pulledFor = eventsFor = null;
    return;
  }
  if (!navigator.onLine) return;
  if (Date.now() < notBefore) {
    wake(notBefore - Date.now());
    return;
  }
  await push(user);
  listen(user);
  if (mayPull && pulledFor !== user.id) {
    await pull(user);
    pulledFor = user.id;
  }
  failures = notBefore = 0;
}

// push sends in an order that never names what the api has not seen: todos,
// the timer that may be for one, entries, changes of todos.
async function push(user) {
  while (await todos.create(user));
  await pushTimer();
  while (await entries.sendFirst(user));
  while (await todos.update(user));
}

async function pushTimer() {
  const timer = running.unsent();
  if (timer === undefined) return;
  const { todo, ...body } = timer ?? {};
  const id = todo && (await todos.serverId(todo));
  try {
    await ask("PUT", "/api/timer", { body: timer && { ...body, ...(id && { todo: id }) } });
  } catch (error) {
    // One that the api will not take runs here alone, and holds up nothing.
    if (!isFinal(error)) throw error;
  }
  running.acknowledge(timer);
}

async function pull(user) {
  const since = iso(Date.now() - horizon);
  await todos.receive((await ask("GET", "/api/todos")).items, user.id);
  const docs = [];
  let cursor = "";
  do {
    const page = await ask("GET", `/api/pomodoro?limit=500&from=${since}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
    docs.push(...page.items);
    cursor = page.cursor ?? "";
  } while (cursor);
  await entries.receive(docs, since, user.id);
  const asked = Date.now();
  const { timer, now } = await ask("GET", "/api/timer");
  await adopt(user, timer, Date.parse(now) - (asked + Date.now()) / 2);
}

let ahead = 0; // of the api's clock before ours, in milliseconds

async function adopt(user, timer, measured = ahead) {
  ahead = measured;
  if (timer?.todo) timer = { ...timer, todo: await todos.localId(timer.todo) };
  await running.adopt(timer, ahead, user.id);
}

function listen(user) {
  if (events && eventsFor === user.id) return;
  hangUp();
  if (eventsFor !== user.id) mayPull = false;
  const source = new EventSource("/api/events");
  events = source;
  eventsFor = user.id;
  // Of what changes during a pull the stream alone tells, so a pull counts that
  // has begun with the stream open.
  const pullAnew = () => {
    if (events !== source) return;
    mayPull = true;
    pulledFor = null;
    return exchange();
  };
  source.addEventListener("open", () => serially(pullAnew), { once: true });
  setTimeout(() => source.readyState === EventSource.CONNECTING && serially(pullAnew), openTime);
  source.addEventListener("change", (event) => serially(() => apply(JSON.parse(event.data), user)));
  source.addEventListener("reset", () => serially(pullAnew));
  source.addEventListener("error", () => {
    // It reconnects by itself, and resumes, unless the answer was a refusal.
    if (source.readyState !== EventSource.CLOSED || events !== source) return;
    hangUp();
    serially(() => {
      mayPull = true;
      pulledFor = null; // events were missed
      throw new Unreachable("the event stream was refused", 0);
    });
  });
}

function hangUp() {
  events?.close();
  events = null;
}

async function apply(change, user) {
  if (change.kind === "pomodoro") await entries.heard(change, user.id);
  else if (change.kind === "todo") await todos.heard(change, user.id);
  else if (change.kind === "timer") await adopt(user, change.doc);
}

// forget removes a user's data from this browser, but for what the api has not
// got yet: that waits for the same user, with the todos that it is for.
export async function forget(user) {
  const known = (x) => x.owner === user.id;
  running.forget(user.id);
  tags.forget();
  todolist.forget();
  await store.entries.revise((all) => ({ remove: all.filter((e) => known(e) && e.sent).map((e) => e.startedAt) }));
  const named = new Set((await store.entries.all()).filter(known).map((e) => e.todo));
  await store.todos.revise((all) => ({ remove: all.filter((t) => known(t) && !t.dirty && !named.has(t.id)).map((t) => t.id) }));
}
