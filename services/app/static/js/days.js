// Days are the visitor's own: names like 2026-03-01 in the zone of the browser.

export const zone = () => Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

export function dayOf(ms) {
  const d = new Date(ms);
  const two = (n) => String(n).padStart(2, "0");
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
}

// startOf is the first moment of a day, or of an hour of it, also where the clock
// skips midnight.
export function startOf(day, hour = 0) {
  const [year, month, date] = day.split("-").map(Number);
  return new Date(year, month - 1, date, hour).getTime();
}

export function shift(day, days) {
  const [year, month, date] = day.split("-").map(Number);
  return dayOf(new Date(year, month - 1, date + days, 12).getTime());
}

// weekday counts from Monday, 0, to Sunday, 6.
export function weekday(day) {
  return (new Date(startOf(day) + 43_200_000).getDay() + 6) % 7;
}

// valid reports whether text names a day that exists.
export function valid(text) {
  return /^\d{4}-\d\d-\d\d$/.test(text ?? "") && dayOf(startOf(text)) === text;
}

export function named(day, options = { weekday: "long", day: "numeric", month: "long", year: "numeric" }) {
  return new Date(startOf(day) + 43_200_000).toLocaleDateString("en-GB", options);
}

export const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
