// The one timer that runs now, shared by all tabs through localStorage. unsent
// says that the api does not know of the latest change, owner whose timer it is:
// null a guest's, which is that of whoever logs in next. Nobody else sees it.

import { me } from "./account.js";
import { hear, tell } from "./channel.js";
import { entries, newKey, save, saved } from "./store.js";
import { begin, distract, end, entry, isWork, remaining, valid, wire } from "./timer.js";

const place = "pomodoro.timer";
let state = read();
let finishing = false;

function read() {
  const kept = saved(place, {});
  return { timer: valid(kept.timer), unsent: kept.unsent === true, owner: kept.owner ?? null };
}

const user = () => me()?.id ?? null;
const isOurs = () => state.owner === null || state.owner === user();

// fresh is the timer as it is stored: another tab may have changed it, and its
// word may be on the way still. Whoever changes it begins here.
function fresh() {
  state = read();
  return running();
}

// write keeps a timer in place of the one that is stored. One of somebody else
// that the api does not know becomes an entry of theirs, which waits for them.
function write(timer, unsent) {
  const left = !isOurs() && state.unsent && state.timer;
  if (left) entries.insert({ ...entry(left, Date.now()), key: newKey(), owner: state.owner, sent: false });
  state = { timer, unsent, owner: user() };
  save(place, state);
  tell("timer");
}

hear("timer", () => { state = read(); });
// Where there is no BroadcastChannel the store itself tells the other tabs.
addEventListener("storage", (event) => {
  if (event.key === place) tell("timer");
});

export const running = () => (isOurs() ? state.timer : null);

// start begins kind, usually now; at lies in the past when a break follows
// directly on work that has ended in the background.
export function start(kind, { tags = [], todo } = {}, at = Date.now()) {
  if (fresh()) return;
  const timer = begin(kind, at);
  if (isWork(kind)) {
    timer.tags = tags;
    if (todo) timer.todo = todo;
  }
  write(timer, true);
}

// finish records the timer and ends it. It resolves with null when nothing ran,
// and tells by mine whether this tab was the one that recorded it.
export async function finish() {
  if (finishing) return null;
  const timer = fresh();
  if (!timer) return null;
  finishing = true;
  try {
    const now = Date.now();
    const full = remaining(timer, now) === 0;
    const doc = { ...entry(timer, now), key: newKey(), owner: user(), sent: false };
    // Recorded before it is forgotten: a tab that dies between the two finds
    // the timer again, and the entry of the same start already there.
    const mine = await entries.insert(doc);
    if (fresh()?.startedAt === timer.startedAt) write(null, true);
    return { timer, full, mine, at: full ? end(timer) - (timer.skew ?? 0) : now };
  } finally {
    finishing = false;
  }
}

// amend changes tags or todo of the running timer.
export function amend(change) {
  const timer = fresh();
  if (timer) write({ ...timer, ...change }, true);
}

export function noteDistraction() {
  const timer = fresh();
  if (timer && isWork(timer)) write(distract(timer, Date.now()), true);
}

// unsent is the timer to send, in the form of the api, or undefined when the
// api knows all.
export function unsent() {
  return state.unsent && isOurs() ? wire(state.timer) : undefined;
}

// acknowledge notes that the api has taken what unsent returned.
export function acknowledge(sent) {
  if (JSON.stringify(wire(fresh())) === JSON.stringify(sent)) write(running(), false);
}

// adopt takes over what another device of owner runs. ahead is by how much the
// api's clock is ahead of ours; seconds of it are noise. What this device has
// not told yet wins, and a timer that has ended here does not come back.
export async function adopt(value, ahead, owner) {
  if (owner !== user()) return; // logged out meanwhile
  const timer = valid(value);
  const known = fresh();
  if (unsent() !== undefined || finishing) return;
  if (timer && known?.startedAt === timer.startedAt) {
    if (known.skew) timer.skew = known.skew;
  } else if (timer) {
    if (await entries.get(new Date(timer.startedAt).toISOString())) return;
    if (Math.abs(ahead) > 2000) timer.skew = ahead;
  }
  const now = fresh();
  if (owner !== user() || unsent() !== undefined || finishing || JSON.stringify(timer) === JSON.stringify(now)) return;
  write(timer, false);
}

// forget removes the timer of who has logged out, which runs on at the api. One
// that the api does not know waits for its owner.
export function forget(owner) {
  state = read();
  if (state.owner !== owner || state.unsent) return;
  save(place, null);
  tell("timer");
}
