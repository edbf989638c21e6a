// What comes after what: a short break after work, a long one after every
// fourth, and work after a break.

import { isWork, kinds, over } from "./timer.js";

export const untilLong = 4;

// rounds counts the work finished on the day of now since its last long break.
// entries are sorted by their start.
export function rounds(entries, now) {
  const today = new Date(now).toDateString();
  let count = 0;
  for (const e of entries) {
    if (new Date(over(e)).toDateString() !== today || e.cancelledAt) continue;
    if (isWork(e)) count++;
    else if (e.minutes === 15) count = 0;
  }
  return count;
}

// next is the kind that follows the one that has ended.
export function next(ended, count) {
  if (!isWork(ended)) return kinds[0];
  return count > 0 && count % untilLong === 0 ? kinds[2] : kinds[1];
}
