// The statistics: one day, its week, and the year up to it.

import { me } from "./account.js";
import { hear } from "./channel.js";
import * as charts from "./charts.js";
import { dayOf, named, shift, startOf, valid, weekday, zone } from "./days.js";
import { arrange, at, count, make, text } from "./dom.js";
import { between, dismiss, refused, waiting } from "./entries.js";
import { askFor } from "./request.js";
import { summarize } from "./summary.js";
import * as store from "./store.js";
import * as todos from "./todos.js";
import { go, shown } from "./views.js";

const patience = 4000; // for the api before what this browser knows is shown

let asked = 0; // so that a slow answer does not overwrite a later one

const today = () => dayOf(Date.now());

function dayShown() {
  const day = new URLSearchParams(location.search).get("day");
  return valid(day) ? day : today();
}

// turn goes days forward or back, never beyond today.
export function turn(days) {
  const day = shift(dayShown(), days);
  if (day <= today()) go(day === today() ? "/statistics" : `/statistics?day=${day}`);
}

export async function enter() {
  const mine = ++asked;
  const day = dayShown();
  const local = await known(day);
  if (mine !== asked) return;
  show(day, local);
  if (!me()) return;
  const better = await fromApi(day);
  if (better && mine === asked) show(day, better);
}

// the days that the pictures need: a year back, and the week to its end.
const span = (day) => ({ from: shift(day, -weekday(day) - 52 * 7), to: shift(day, 6 - weekday(day)) });

async function known(day) {
  const { from, to } = span(day);
  const entries = await between(startOf(from), startOf(shift(to, 1)));
  return { entries: await between(startOf(day), startOf(shift(day, 1))), ...summarize(entries, from, to) };
}

// fromApi is what all devices together know. It waits until this one has sent
// its own, and is null where the api cannot be reached.
async function fromApi(day) {
  const { from, to } = span(day);
  const tz = encodeURIComponent(zone());
  if ((await waiting()) > 0) return null;
  try {
    const [statistics, list] = await Promise.all([
      askFor(patience, "GET", `/api/statistics?from=${from}&to=${to}&tz=${tz}`),
      askFor(patience, "GET", `/api/pomodoro?day=${day}&tz=${tz}&limit=500`),
    ]);
    return { ...statistics, entries: list.items };
  } catch {
    return null;
  }
}

async function show(day, { entries, days, streaks, tags }) {
  text(at("day"), day === today() ? "Today" : named(day));
  at("next-day").disabled = day === today();
  const empty = entries.length === 0;
  at("day-figure").replaceChildren(...(empty ? [] : [charts.timeline(entries, day)]));
  at("no-entries").hidden = !empty;
  text(at("no-entries"), day === today()
    ? "Nothing yet today. Start a pomodoro on the timer, and it appears here."
    : "Nothing on this day. The arrow keys lead to other days.");
  const work = days.find((d) => d.day === day);
  text(at("day-summary"), work ? `${count(work.full, "pomodoro", "pomodori")}, ${count(work.minutes, "minute")}${work.cancelled ? `, ${work.cancelled} stopped` : ""}` : "");
  await list(entries);

  const any = days.length > 0;
  for (const id of ["week-part", "year-part", "streak-part"]) at(id).hidden = !any;
  at("no-statistics").hidden = any || !empty || day !== today();
  if (any) {
    at("week-figure").replaceChildren(charts.week(days, day));
    at("year-figure").replaceChildren(charts.year(days, day));
    at("year-figure").scrollLeft = at("year-figure").scrollWidth; // where it is narrow, the latest is seen
    text(at("streak"), count(streaks.current, "day"));
    text(at("longest"), count(streaks.longest, "day"));
    const worked = days.filter((d) => d.full > 0);
    text(at("average"), count(Math.round(worked.reduce((sum, d) => sum + d.full, 0) / Math.max(1, worked.length) * 10) / 10, "pomodoro", "pomodori"));
  }
  averages(tags, days);
  troubles();
}

async function list(entries) {
  const known = await store.todos.all();
  const named = (id) => known.find((t) => t.id === id || t.serverId === id)?.text;
  at("entries").replaceChildren(...entries.map((e) => {
    const about = [e.distractions?.length ? count(e.distractions.length, "distraction") : null, e.todo && named(e.todo)].filter(Boolean);
    return make("li", { className: e.type === "break" ? "break" : e.cancelledAt ? "cancelled" : "work" }, charts.entryName(e), about.length ? make("span", { className: "about" }, ` ${about.join(" · ")}`) : null);
  }));
}

// averages shows each tag with its mean per day on which it was used.
function averages(tags, days) {
  at("tags-part").hidden = tags.length === 0;
  at("tag-rows").replaceChildren(...tags.slice(0, 20).map(({ tag, count: times, minutes }) => {
    const used = days.filter((d) => d.tags?.[tag]).length || 1;
    return make("tr", {}, make("th", { scope: "row" }, tag), make("td", {}, String(times)), make("td", {}, String(minutes)), make("td", {}, String(Math.round(minutes / used))));
  }));
}

// troubles tells of entries and todos that the api did not take: they stay here.
// What is shown already stays as it is, so that a button is never replaced under
// a finger.
async function troubles() {
  const list = [
    ...(await refused()).map((e) => ({ of: e.startedAt, what: `${named(dayOf(Date.parse(e.startedAt)))}, ${charts.entryName(e)}`, why: e.refused, remove: dismiss })),
    ...(await todos.refused()).map((t) => ({ of: t.id, what: `Todo “${t.text}”`, why: t.refused, remove: todos.dismiss })),
  ];
  const known = new Map([...at("refused").children].map((line) => [line.dataset.of, line]));
  at("refused-part").hidden = list.length === 0;
  arrange(at("refused"), list.map((kept) => known.get(kept.of) ?? trouble(kept)));
}

function trouble({ of, what, why, remove }) {
  const line = make("li", {}, `${what}: ${why} `, make("button", { type: "button", onclick: () => remove(of) }, "Remove"));
  line.dataset.of = of;
  return line;
}

export function begin() {
  at("previous-day").addEventListener("click", () => turn(-1));
  at("next-day").addEventListener("click", () => turn(1));
  for (const subject of ["entries", "user"]) hear(subject, () => shown() === "statistics" && enter());
  hear("todos", () => shown() === "statistics" && troubles());
}

