// A timer is a plain value and functions of it: what remains follows from two
// timestamps, so that neither a sleeping tab nor a reload makes it drift.

export const kinds = [
  { type: "pomodoro", minutes: 25 },
  { type: "break", minutes: 5 },
  { type: "break", minutes: 15 },
];

export const limits = { tags: 5, tag: 19, distractions: 200, text: 500, minutes: 90 };

export function begin(kind, now) {
  return { type: kind.type, minutes: kind.minutes, startedAt: now, tags: [], distractions: [] };
}

export function isWork(kind) {
  return kind.type !== "break";
}

export function end(timer) {
  return timer.startedAt + timer.minutes * 60_000;
}

// remaining is in milliseconds. A timer from another device carries skew: by
// how much that device's clock is ahead of ours.
export function remaining(timer, now) {
  return Math.min(timer.minutes * 60_000, Math.max(0, end(timer) - now - (timer.skew ?? 0)));
}

export function digits(ms) {
  const seconds = Math.ceil(ms / 1000);
  return `${String(Math.floor(seconds / 60)).padStart(2, "0")}:${String(seconds % 60).padStart(2, "0")}`;
}

// spoken is digits for a screen reader, which would read 24:59 as a time of day.
export function spoken(ms) {
  const minutes = Math.ceil(ms / 60_000);
  return minutes === 1 ? "1 minute left" : `${minutes} minutes left`;
}

export function distract(timer, now) {
  const at = now + (timer.skew ?? 0);
  if (timer.distractions.length >= limits.distractions || at < timer.startedAt || at > end(timer)) return timer;
  return { ...timer, distractions: [...timer.distractions, at] };
}

// entry is what is kept of a timer that has ended. One that was stopped is
// cancelled, and nothing distracts after the end.
export function entry(timer, now) {
  const at = now + (timer.skew ?? 0);
  const cancelled = at < end(timer);
  const over = cancelled ? Math.max(at, timer.startedAt + 1) : end(timer);
  const doc = {
    type: timer.type,
    minutes: timer.minutes,
    startedAt: iso(timer.startedAt),
    tags: timer.tags,
    distractions: timer.distractions.filter((d) => d <= over).map(iso),
  };
  if (cancelled) doc.cancelledAt = iso(over);
  if (timer.todo) doc.todo = timer.todo;
  return doc;
}

// over is the end of an entry, in milliseconds.
export function over(entry) {
  return entry.cancelledAt ? Date.parse(entry.cancelledAt) : Date.parse(entry.startedAt) + entry.minutes * 60_000;
}

export function iso(ms) {
  return new Date(ms).toISOString();
}

// valid returns a timer that came from the store or the api, whole and with
// times in milliseconds, or null when it is not one.
export function valid(t) {
  const known = ["pomodoro", "break", "custom"].includes(t?.type);
  const startedAt = typeof t?.startedAt === "string" ? Date.parse(t.startedAt) : t?.startedAt;
  if (!known || !Number.isInteger(t.minutes) || t.minutes < 1 || t.minutes > limits.minutes || !Number.isFinite(startedAt)) return null;
  const times = (t.distractions ?? []).map((d) => (typeof d === "string" ? Date.parse(d) : d)).filter(Number.isFinite);
  const timer = { type: t.type, minutes: t.minutes, startedAt, tags: t.tags ?? [], distractions: times };
  if (t.todo) timer.todo = t.todo;
  if (t.skew) timer.skew = t.skew;
  return timer;
}

// wire is a timer as the api keeps it.
export function wire(timer) {
  if (!timer) return null;
  const { type, minutes, startedAt, tags, todo, distractions } = timer;
  return { type, minutes, startedAt: iso(startedAt), tags, distractions: distractions.map(iso), ...(todo && { todo }) };
}
