// The timer is a plain value and functions of it: what remains follows from
// two timestamps, so that neither a sleeping tab nor a reload makes it drift.

export const kinds = [
  { type: "pomodoro", minutes: 25 },
  { type: "break", minutes: 5 },
  { type: "break", minutes: 15 },
];

export function begin(kind, now) {
  return { ...kind, startedAt: now };
}

export function end(timer) {
  return timer.startedAt + timer.minutes * 60_000;
}

export function remaining(timer, now) {
  return Math.min(timer.minutes * 60_000, Math.max(0, end(timer) - now));
}

export function digits(ms) {
  const seconds = Math.ceil(ms / 1000);
  return `${String(Math.floor(seconds / 60)).padStart(2, "0")}:${String(seconds % 60).padStart(2, "0")}`;
}

// entry is what the api stores. A timer that was stopped is one cancelled.
export function entry(timer, now) {
  const doc = { type: timer.type, minutes: timer.minutes, startedAt: new Date(timer.startedAt).toISOString() };
  if (now < end(timer)) doc.cancelledAt = new Date(Math.max(now, timer.startedAt + 1)).toISOString();
  return doc;
}

// revive returns a stored timer, or null when it is not one.
export function revive(text) {
  try {
    const t = JSON.parse(text);
    const known = ["pomodoro", "break", "custom"].includes(t?.type);
    return known && Number.isInteger(t.minutes) && t.minutes >= 1 && t.minutes <= 90 && Number.isFinite(t.startedAt) ? t : null;
  } catch {
    return null;
  }
}
