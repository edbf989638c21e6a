// A team's room: one timer for all who are in it. The socket comes back by
// itself after a deploy; meanwhile the page shows what it last heard.

import { deliver } from "./channel.js";
import { at, make, text } from "./dom.js";
import { announce, say } from "./notice.js";
import { pause } from "./request.js";
import { set, settings } from "./settings.js";
import * as sound from "./sound.js";
import { digits, remaining, spoken } from "./timer.js";
import { go } from "./views.js";

const patience = 3000; // a shorter break is nobody's concern
const fresh = 5000; // what was pressed before that is not what the room needs now
const full = 1013; // the api's close code for a room that nobody can enter now

let room = null;
let socket = null;
let failures = 0;
let waiting = 0;
let overdue = 0;
let unsent = []; // what was pressed while there was no socket, and when
let timer = null; // with startedAt by our own clock
let ended = true; // the end of timer has been rung

export function enter(location) {
  const wanted = location.pathname.slice("/team/".length).replace(/\/$/, "");
  const good = /^[a-z0-9-]{1,64}$/.test(wanted);
  at("team-door").hidden = good;
  at("team-room").hidden = !good;
  if (!good) {
    leave();
    return;
  }
  if (wanted === room) return;
  leave();
  room = wanted;
  text(at("team-title"), `Team ${room}`);
  connect();
}

export function leave() {
  clearTimeout(waiting);
  clearTimeout(overdue);
  overdue = 0;
  text(at("team-status"), ""); // it was about this room
  room = null;
  timer = null;
  unsent = [];
  socket?.close(1000);
  socket = null;
  at("team-people").replaceChildren();
  deliver("team");
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const opened = new WebSocket(`${scheme}://${location.host}/api/team/${room}`);
  socket = opened;
  opened.addEventListener("open", () => {
    if (settings.name) send({ type: "hello", name: settings.name });
    const pressed = unsent.splice(0);
    const still = pressed.filter(({ at }) => Date.now() - at < fresh);
    for (const { message } of still) send(message);
    if (still.length < pressed.length) say("There was no connection: what you pressed was not sent.");
  });
  opened.addEventListener("message", (event) => {
    if (socket === opened) hear(JSON.parse(event.data));
  });
  opened.addEventListener("close", (event) => {
    if (socket !== opened) return;
    socket = null;
    waiting = setTimeout(connect, pause(failures++));
    if (event.code === full) {
      clearTimeout(overdue);
      overdue = 0;
      text(at("team-status"), "The room is full. You come in when somebody leaves.");
    } else overdue ||= setTimeout(() => text(at("team-status"), "Connecting again…"), patience);
  });
}

function send(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  else if (message.type !== "hello") unsent = [...unsent, { message, at: Date.now() }].slice(-2);
}

function hear(state) {
  if (state.type !== "state") return;
  failures = 0;
  clearTimeout(overdue);
  overdue = 0;
  adopt(state.timer, Date.parse(state.now));
  text(at("team-status"), "");
  at("team-people").replaceChildren(...state.people.map((p) => make("li", {}, p.name)));
}

// adopt turns the room's clock into ours. A start that comes out within a
// second of the one shown is the same timer: the digits do not jump for a
// message that took a little longer.
function adopt(value, now) {
  const startedAt = value && Date.parse(value.startedAt) + (Date.now() - now);
  const same = value && timer && value.minutes === timer.minutes && value.kind === timer.type && Math.abs(startedAt - timer.startedAt) < 1000;
  if (!same) {
    timer = value && { type: value.kind, minutes: value.minutes, startedAt };
    ended = !timer || remaining(timer, Date.now()) === 0;
    announce(timer ? `The team's timer runs: ${spoken(remaining(timer, Date.now()))}` : "The team's timer is stopped");
  }
  deliver("team");
  show();
}

export const shownTimer = () => (room && timer && remaining(timer, Date.now()) > 0 ? timer : null);

// show is called at every tick.
export function show() {
  if (!room) return;
  const left = timer ? remaining(timer, Date.now()) : 25 * 60_000;
  const runs = timer !== null && left > 0;
  text(at("team-digits"), digits(left));
  at("team-digits").dataset.kind = timer?.type === "break" ? "break" : "pomodoro";
  at("team-stop").hidden = !runs;
  at("team-starts").hidden = runs;
  if (timer && left === 0 && !ended) {
    ended = true;
    sound.ring();
    announce("The team's timer has ended");
  }
}

export function begin() {
  at("team-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = at("team-name").value.trim().toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "");
    if (name) go(`/team/${name.slice(0, 64)}`);
  });
  for (const button of at("team-starts").querySelectorAll("button")) {
    button.addEventListener("click", () => send({ type: "start", kind: button.dataset.type, minutes: Number(button.dataset.minutes) }));
  }
  at("team-stop").addEventListener("click", () => send({ type: "stop" }));
  at("my-name").value = settings.name;
  at("name-form").addEventListener("submit", (event) => {
    event.preventDefault();
    set({ name: at("my-name").value.trim().slice(0, 40) });
    if (settings.name) send({ type: "hello", name: settings.name });
    announce(settings.name ? `You are ${settings.name}` : "You have no name from the next visit on");
  });
}
