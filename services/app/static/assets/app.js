import { begin, digits, end, entry, kinds, remaining, revive } from "/assets/timer.js";
import { add, flush, whoAmI } from "/assets/record.js";

const place = "pomodoro.timer";
const at = (id) => document.getElementById(id);
const choices = [...document.querySelectorAll("[data-minutes]")];

let chosen = kinds[0];
let timer = revive(localStorage.getItem(place)); // null while nothing runs
let note = "Ready";
let sound = null;
if (timer) chosen = { type: timer.type, minutes: timer.minutes };

function choose(kind) {
  if (timer) return;
  chosen = kind;
  note = "Ready";
  show();
}

function toggle() {
  if (timer) {
    finish(Date.now());
    return;
  }
  sound ??= "AudioContext" in window ? new AudioContext() : null; // allowed now: somebody pressed
  timer = begin(chosen, Date.now());
  localStorage.setItem(place, JSON.stringify(timer));
  show();
}

// finish ends the timer of all tabs: the one that takes it out of the store
// records it.
function finish(now) {
  const ended = timer;
  timer = null;
  const mine = revive(localStorage.getItem(place))?.startedAt === ended.startedAt;
  if (mine) {
    localStorage.removeItem(place);
    add(entry(ended, now));
    flush();
  }
  const done = now >= end(ended);
  note = done ? "Done" : "Stopped";
  if (done && mine) ring();
  show();
}

function ring() {
  if (!sound) return;
  const tone = sound.createOscillator();
  const volume = sound.createGain();
  tone.frequency.value = 660;
  volume.gain.setValueAtTime(0.2, sound.currentTime);
  volume.gain.exponentialRampToValueAtTime(0.001, sound.currentTime + 1.5);
  tone.connect(volume).connect(sound.destination);
  tone.start();
  tone.stop(sound.currentTime + 1.5);
}

function tick() {
  if (timer && Date.now() >= end(timer)) finish(Date.now());
  else if (timer) show();
}

function text(id, value) {
  if (at(id).textContent !== value) at(id).textContent = value;
}

function show() {
  const left = timer ? remaining(timer, Date.now()) : chosen.minutes * 60_000;
  text("digits", digits(left));
  text("toggle", timer ? "Stop" : "Start");
  text("status", timer ? (timer.type === "break" ? "Break" : "Working") : note);
  document.body.dataset.type = chosen.type;
  document.title = timer ? `${digits(left)} · pomodoro.cc` : "pomodoro.cc";
  for (const b of choices) {
    b.disabled = timer !== null;
    b.setAttribute("aria-pressed", String(b.dataset.type === chosen.type && Number(b.dataset.minutes) === chosen.minutes));
  }
  drawIcon(left);
}

const plainIcon = at("icon").getAttribute("href");
let drawn = "";

// drawIcon shows the minutes left; drawn again only when they change.
function drawIcon(left) {
  const want = timer ? `${timer.type} ${Math.ceil(left / 60_000)}` : "";
  if (want === drawn) return;
  drawn = want;
  if (!timer) {
    at("icon").href = plainIcon;
    return;
  }
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 32;
  const c = canvas.getContext("2d");
  c.fillStyle = timer.type === "break" ? "#3BB500" : "#DF2E2E";
  c.beginPath();
  c.arc(16, 16, 16, 0, 2 * Math.PI);
  c.fill();
  c.fillStyle = "#fff";
  c.font = "bold 18px sans-serif";
  c.textAlign = "center";
  c.textBaseline = "middle";
  c.fillText(String(Math.ceil(left / 60_000)), 16, 17);
  at("icon").href = canvas.toDataURL("image/png");
}

at("toggle").addEventListener("click", toggle);
for (const b of choices) b.addEventListener("click", () => choose({ type: b.dataset.type, minutes: Number(b.dataset.minutes) }));
at("custom").addEventListener("submit", (event) => {
  event.preventDefault();
  choose({ type: "custom", minutes: at("minutes").valueAsNumber });
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.closest("input, textarea, select")) return;
  if (event.key === " ") {
    // A focused button takes the space itself.
    if (event.target.closest("button, a")) return;
    event.preventDefault();
    toggle();
  } else if (kinds[Number(event.key) - 1]) {
    choose(kinds[Number(event.key) - 1]);
  }
});
window.addEventListener("storage", (event) => {
  if (event.key !== place) return;
  timer = revive(event.newValue);
  if (timer) chosen = { type: timer.type, minutes: timer.minutes };
  else note = "Ready";
  show();
});
document.addEventListener("visibilitychange", tick);
window.addEventListener("online", flush);
at("logout").addEventListener("click", async () => {
  const answer = await fetch("/auth/logout", { method: "POST" }).catch(() => null);
  if (answer?.ok) who(null);
});

function who(user) {
  at("who").textContent = user ? user.username : "Guest";
  at("logout").hidden = !user;
}

setInterval(tick, 250);
tick();
show();
whoAmI().then((user) => {
  who(user);
  if (user) flush();
});
