// Statistics of entries, in the form in which the api gives them: for guests,
// and for everybody where the api cannot be reached.

import { dayOf, shift } from "./days.js";
import { isWork, over } from "./timer.js";

// summarize counts work, not breaks, of the days from to to, both included.
export function summarize(entries, from, to) {
  const days = new Map();
  for (const e of entries.filter(isWork)) {
    const name = dayOf(Date.parse(e.startedAt));
    if (name < from || name > to) continue;
    const day = days.get(name) ?? { day: name, full: 0, cancelled: 0, minutes: 0, tags: {} };
    days.set(name, day);
    const minutes = (over(e) - Date.parse(e.startedAt)) / 60_000;
    day.minutes += minutes;
    if (e.cancelledAt) day.cancelled++;
    else day.full++;
    for (const tag of e.tags ?? []) {
      const t = (day.tags[tag] ??= { count: 0, minutes: 0 });
      t.count++;
      t.minutes += minutes;
    }
  }
  const sorted = [...days.values()].sort((a, b) => (a.day < b.day ? -1 : 1));
  const tags = byTag(sorted);
  for (const d of sorted) {
    d.minutes = Math.floor(d.minutes);
    for (const t of Object.values(d.tags)) t.minutes = Math.floor(t.minutes);
  }
  return { from, to, days: sorted, streaks: streaks(sorted, to), tags };
}

// streaks counts days in a row with work that was finished. The current one ends
// on the last day, or on the one before while that is today.
function streaks(days, to) {
  const worked = new Set(days.filter((d) => d.full > 0).map((d) => d.day));
  let longest = 0;
  for (const day of worked) {
    if (worked.has(shift(day, -1))) continue;
    let length = 1;
    while (worked.has(shift(day, length))) length++;
    longest = Math.max(longest, length);
  }
  let current = 0;
  const today = dayOf(Date.now());
  const last = to < today ? to : today;
  for (let day = last === today && !worked.has(last) ? shift(last, -1) : last; worked.has(day); day = shift(day, -1)) current++;
  return { current, longest };
}

function byTag(days) {
  const tags = new Map();
  for (const { tags: ofDay } of days) {
    for (const [tag, { count, minutes }] of Object.entries(ofDay)) {
      const t = tags.get(tag) ?? { tag, count: 0, minutes: 0 };
      tags.set(tag, { tag, count: t.count + count, minutes: t.minutes + minutes });
    }
  }
  return [...tags.values()]
    .map((t) => ({ ...t, minutes: Math.floor(t.minutes) }))
    .sort((a, b) => b.count - a.count || (a.tag < b.tag ? -1 : 1));
}
