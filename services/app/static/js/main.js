// The page's beginning: every part is started once, in the order in which one
// needs the other.

import * as account from "./account.js";
import { hear } from "./channel.js";
import * as clock from "./clock.js";
import { at, count, make, text } from "./dom.js";
import { waiting } from "./entries.js";
import { bind } from "./keys.js";
import { permit, say } from "./notice.js";
import { set, settings } from "./settings.js";
import * as sound from "./sound.js";
import * as statistics from "./statistics.js";
import * as sync from "./sync.js";
import * as tags from "./tags.js";
import * as team from "./team.js";
import { kinds } from "./timer.js";
import * as todolist from "./todolist.js";
import * as views from "./views.js";

const names = { github: "GitHub", twitter: "Twitter", fake: "a test user" };

function beginViews() {
  views.view("statistics", statistics);
  views.view("team", team);
  views.show();
}

function beginKeys() {
  const onTimer = (f) => () => {
    if (views.shown() !== "timer") views.go("/");
    f();
  };
  bind(" ", onTimer(clock.toggle));
  kinds.forEach((kind, i) => bind(String(i + 1), onTimer(() => clock.choose(kind))));
  bind("x", clock.distract);
  bind("s", () => views.go(views.shown() === "statistics" ? "/" : "/statistics"));
  bind("t", onTimer(() => at("todo").focus()));
  bind("?", () => at("help").showModal());
  bind("ArrowLeft", () => views.shown() === "statistics" && statistics.turn(-1));
  bind("ArrowRight", () => views.shown() === "statistics" && statistics.turn(1));
}

function beginSettings() {
  at("open-settings").addEventListener("click", () => at("settings").showModal());
  at("open-help").addEventListener("click", () => at("help").showModal());
  for (const name of ["ring", "tick", "autoBreak"]) {
    at(`set-${name}`).addEventListener("change", (event) => set({ [name]: event.target.checked }));
  }
  at("set-alarm").addEventListener("change", (event) => set({ alarm: event.target.value }));
  at("try-alarm").addEventListener("click", () => {
    sound.allow();
    sound.ring();
  });
  at("set-notify").addEventListener("change", async (event) => {
    const wanted = event.target.checked;
    const allowed = wanted && (await permit());
    set({ notify: allowed });
    if (wanted && !allowed) say("This browser does not allow notifications of this site.");
  });
  hear("settings", showSettings);
  showSettings();
}

function showSettings() {
  for (const name of ["ring", "tick", "notify", "autoBreak"]) at(`set-${name}`).checked = settings[name];
  at("set-alarm").value = settings.alarm;
}

function beginAccount() {
  at("logout").addEventListener("click", async () => {
    const user = account.me();
    if (await account.logout()) await sync.forget(user);
    else say("Logging out needs a connection. Try again later.");
  });
  for (const subject of ["user", "entries"]) hear(subject, showAccount);
  for (const name of ["online", "offline"]) addEventListener(name, showAccount);
  showAccount();
  account.identify();
}

async function showAccount() {
  const user = account.me();
  const n = await waiting();
  at("user").hidden = at("logout").hidden = !user;
  at("guest").hidden = user !== null;
  text(at("user"), user?.username ?? "");
  if (user === null) offerLogins();
  const later = n > 0 ? ` ${count(n, "entry waits", "entries wait")} to be sent.` : "";
  text(at("connection"), !navigator.onLine ? `Offline. All is kept here${user ? " and sent later" : ""}.${user ? later : ""}` : "");
}

let offered = null;

function offerLogins() {
  offered ??= account.providers().then((list) => {
    at("logins").replaceChildren(...list.map((name) =>
      make("a", { className: "button", href: `/auth/${name}`, onclick: account.beginLogin, onauxclick: account.beginLogin, oncontextmenu: account.beginLogin }, `Log in with ${names[name] ?? name}`)));
    at("login-offer").hidden = list.length === 0;
    if (list.length === 0) offered = null;
  });
}

// The service worker keeps the page for times without a connection. It exists
// in secure contexts only.
function beginOffline() {
  navigator.serviceWorker?.register("/sw.js").catch(() => {});
}

clock.beginClock();
tags.begin();
todolist.begin();
statistics.begin();
team.begin();
beginViews();
beginKeys();
beginSettings();
beginAccount();
sync.run();
beginOffline();
