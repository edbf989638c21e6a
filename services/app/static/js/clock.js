// The clock on the page: the running timer or the one that comes next, in
// digits, in the title and in the tab's icon.

import { hear } from "./channel.js";
import * as cycle from "./cycle.js";
import { startOf, dayOf } from "./days.js";
import { at, count, text } from "./dom.js";
import { between } from "./entries.js";
import * as favicon from "./favicon.js";
import { announce, notify } from "./notice.js";
import * as running from "./running.js";
import { set, settings } from "./settings.js";
import * as sound from "./sound.js";
import * as tags from "./tags.js";
import * as team from "./team.js";
import { digits, end, isWork, kinds, remaining, spoken } from "./timer.js";
import * as todolist from "./todolist.js";
import { shown } from "./views.js";

const late = 60_000; // after that a break does not begin by itself

const choices = [...document.querySelectorAll("#kinds [data-minutes]")];
const ticker = new Worker("/assets/ticker.js");

let chosen = kinds[0];
let note = "Ready";
let lastTick = 0;

export function choose(kind) {
  if (running.running()) return;
  chosen = kind;
  note = "Ready";
  show();
}

export function toggle() {
  sound.allow();
  if (running.running()) stop();
  else begin(chosen);
}

function begin(kind, moment) {
  running.start(kind, { tags: tags.chosen(), todo: todolist.chosen() }, moment);
  announce(`Started: ${spoken(kind.minutes * 60_000)}`);
}

async function stop() {
  const ended = await running.finish();
  if (!ended) return;
  if (ended.full) await finished(ended);
  else note = "Stopped";
  show();
}

// finished says so, once for all tabs, and prepares what comes next.
async function finished({ timer, mine, at: moment }) {
  const now = Date.now();
  chosen = cycle.next(timer, await rounds(now));
  note = isWork(timer) ? "Done. Time for a break" : "The break is over";
  if (!mine) return;
  sound.ring();
  announce(note);
  notify(note, isWork(timer) ? `${timer.minutes} minutes of work are done` : "Ready for the next one?");
  if (settings.autoBreak && isWork(timer) && now - moment < late) begin(chosen, moment);
}

// tick is called when what is left passes a whole second, and whenever the page
// comes back to life.
export function tick() {
  const timer = running.running();
  if (timer && remaining(timer, Date.now()) === 0) stop();
  show();
  team.show();
  if (timer && isWork(timer) && Date.now() - lastTick > 900) {
    lastTick = Date.now();
    sound.tick();
  }
}

function show() {
  const timer = running.running();
  if (timer) chosen = { type: timer.type, minutes: timer.minutes };
  const left = timer ? remaining(timer, Date.now()) : chosen.minutes * 60_000;
  const shownType = chosen.type === "break" ? "break" : "pomodoro";
  text(at("digits"), digits(left));
  at("digits").setAttribute("aria-label", timer ? spoken(left) : count(chosen.minutes, "minute"));
  text(at("toggle"), timer ? "Stop" : "Start");
  text(at("status"), timer ? (timer.type === "break" ? "Break" : "Working") : note);
  document.body.dataset.kind = shownType;
  document.body.classList.toggle("running", timer !== null);
  for (const b of choices) {
    b.disabled = timer !== null;
    b.setAttribute("aria-pressed", String(b.dataset.type === chosen.type && Number(b.dataset.minutes) === chosen.minutes));
  }
  at("custom-set").disabled = timer !== null;
  at("custom-set").setAttribute("aria-pressed", String(chosen.type === "custom"));
  const work = timer !== null && isWork(timer);
  at("distraction").hidden = !work;
  text(at("distractions"), String(timer?.distractions.length ?? 0));
  titles(timer, left);
}

// titles shows the room's timer while the room is on the page.
function titles(own, left) {
  const theirs = shown() === "team" ? team.shownTimer() : null;
  const timer = theirs ?? own;
  const time = theirs ? remaining(theirs, Date.now()) : left;
  document.title = timer ? `${digits(time)} · ${timer.type === "break" ? "Break" : "Work"} · pomodoro.cc` : "pomodoro.cc";
  favicon.show(timer, time);
}

async function rounds(now) {
  return cycle.rounds(await between(startOf(dayOf(now)) - 86_400_000, now + 1), now);
}

async function showRounds() {
  const done = await rounds(Date.now());
  const filled = done === 0 ? 0 : ((done - 1) % cycle.untilLong) + 1;
  at("rounds").replaceChildren(...Array.from({ length: cycle.untilLong }, (_, i) => {
    const dot = document.createElement("span");
    if (i < filled) dot.className = "done";
    return dot;
  }));
  at("rounds").setAttribute("aria-label", `${filled} of ${cycle.untilLong} until a long break`);
}

export function distract() {
  running.noteDistraction();
}

function wind() {
  const timer = running.running();
  const theirs = team.shownTimer();
  const next = theirs ?? timer;
  ticker.postMessage(next ? end(next) - (next.skew ?? 0) : null);
  show();
}

export function beginClock() {
  ticker.addEventListener("message", tick);
  at("toggle").addEventListener("click", toggle);
  at("distraction").addEventListener("click", distract);
  for (const b of choices) b.addEventListener("click", () => choose({ type: b.dataset.type, minutes: Number(b.dataset.minutes) }));
  at("minutes").value = settings.custom;
  at("custom").addEventListener("submit", (event) => {
    event.preventDefault();
    set({ custom: at("minutes").valueAsNumber });
    choose({ type: "custom", minutes: settings.custom });
  });
  hear("timer", wind);
  hear("user", wind);
  hear("team", wind);
  hear("entries", showRounds);
  hear("user", showRounds);
  document.addEventListener("visibilitychange", tick);
  addEventListener("pageshow", tick);
  addEventListener("pointerdown", sound.allow);
  addEventListener("keydown", sound.allow);
  wind();
  tick();
  showRounds();
}
