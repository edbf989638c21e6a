// The three pictures of the statistics, as SVG. Each has its whole content in
// words as well: an image to a screen reader is its label.

import { clock, named, shift, startOf, weekday } from "./days.js";
import { count, draw } from "./dom.js";
import { isWork, over } from "./timer.js";

const plan = (e) => (e.type === "break" ? "break" : e.cancelledAt ? "cancelled" : "work");

export function entryName(e) {
  const kind = `${isWork(e) ? "Work" : "Break"}${e.cancelledAt ? ", stopped" : ""}`;
  return `${clock(Date.parse(e.startedAt))}–${clock(over(e))} ${kind}${e.tags?.length ? ` (${e.tags.join(", ")})` : ""}`;
}

// timeline draws a day from its first to its last hour.
export function timeline(entries, day) {
  const from = startOf(day);
  const width = 720;
  const scale = width / (startOf(shift(day, 1)) - from);
  const bars = entries.map((e) => {
    const x = (Date.parse(e.startedAt) - from) * scale;
    const bar = draw("rect", { class: plan(e), x: x.toFixed(1), y: 8, width: Math.max(2, (over(e) - Date.parse(e.startedAt)) * scale).toFixed(1), height: 40, rx: 1 });
    bar.append(draw("title", {}, entryName(e)));
    return bar;
  });
  const place = (hour) => ((startOf(day, hour) - from) * scale).toFixed(1); // a day may have 23 or 25 hours
  const hours = [0, 6, 12, 18, 24].map((hour) => {
    const x = place(hour);
    const anchor = hour === 0 ? "start" : hour === 24 ? "end" : "middle";
    return draw("text", { x, y: 68, "text-anchor": anchor }, `${String(hour).padStart(2, "0")}:00`);
  });
  const grid = Array.from({ length: 25 }, (_, hour) => draw("line", { class: hour % 6 ? "hour" : "quarter", x1: place(hour), x2: place(hour), y1: 4, y2: 52 }));
  const work = entries.filter(isWork);
  const label = `The day: ${count(work.length, "entry of work", "entries of work")}, ${count(entries.length - work.length, "break")}`;
  return draw("svg", { class: "timeline", viewBox: `0 0 ${width} 72`, role: "img", "aria-label": label }, ...grid, ...bars, ...hours);
}

// week draws the minutes of the seven days of a week that begins on Monday.
export function week(days, day) {
  const monday = shift(day, -weekday(day));
  const found = new Map(days.map((d) => [d.day, d]));
  const names = Array.from({ length: 7 }, (_, i) => shift(monday, i));
  const most = Math.max(100, ...names.map((d) => found.get(d)?.minutes ?? 0));
  const parts = names.flatMap((d, i) => {
    const minutes = found.get(d)?.minutes ?? 0;
    const height = (minutes / most) * 100;
    const x = i * 100 + 50;
    return [
      draw("rect", { class: d === day ? "work chosen" : "work", x: x - 26, y: 124 - height, width: 52, height, rx: 2 }, draw("title", {}, `${named(d)}: ${count(minutes, "minute")}`)),
      ...(minutes ? [draw("text", { x, y: 116 - height, "text-anchor": "middle" }, String(minutes))] : []),
      draw("text", { class: d === day ? "chosen" : "", x, y: 146, "text-anchor": "middle" }, named(d, { weekday: "short" })),
    ];
  });
  const label = `Minutes of the week: ${names.map((d) => `${named(d, { weekday: "long" })} ${found.get(d)?.minutes ?? 0}`).join(", ")}`;
  const base = draw("line", { class: "quarter", x1: 0, x2: 700, y1: 124.5, y2: 124.5 });
  return draw("svg", { class: "week", viewBox: "0 0 700 152", role: "img", "aria-label": label }, ...parts, base);
}

const steps = [1, 50, 100, 175]; // minutes from which a day is darker

// year draws the 53 weeks that end with the week of a day.
export function year(days, day) {
  const found = new Map(days.map((d) => [d.day, d]));
  const first = shift(day, -weekday(day) - 52 * 7);
  const cells = [];
  const months = [];
  for (let i = 0; i < 53 * 7; i++) {
    const d = shift(first, i);
    if (d > day) break;
    const column = Math.floor(i / 7);
    if (d.endsWith("-01") && column < 51) months.push(draw("text", { x: column * 14, y: 10 }, named(d, { month: "short" })));
    const minutes = found.get(d)?.minutes ?? 0;
    const level = steps.filter((s) => minutes >= s).length;
    const cell = draw("rect", { class: `level${level}`, x: column * 14, y: 16 + (i % 7) * 14, width: 12, height: 12, rx: 2 });
    cell.append(draw("title", {}, `${named(d)}: ${count(minutes, "minute")}`));
    cells.push(cell);
  }
  const worked = days.filter((d) => d.minutes > 0);
  const label = `The last year: ${count(worked.length, "day")} with work, ${count(worked.reduce((sum, d) => sum + d.minutes, 0), "minute")}`;
  return draw("svg", { class: "year", viewBox: "0 -6 742 122", role: "img", "aria-label": label }, ...months, ...cells);
}
