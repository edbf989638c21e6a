// What the visitor is told in passing: a line at the foot of the page, with a
// way back where there is one, and the desktop's notification.

import { at, make, text } from "./dom.js";
import { settings } from "./settings.js";

const undoTime = 5000;
let hiding = 0;

// say shows a sentence for five seconds. With undo there is a button; the
// sentence stays while the pointer or the focus is on it.
export function say(sentence, undo) {
  const bar = at("notice");
  clearTimeout(hiding);
  bar.replaceChildren(make("span", {}, sentence));
  if (undo) {
    const hide = () => {
      clearTimeout(hiding);
      bar.hidden = true;
    };
    bar.append(make("button", { type: "button", id: "undo", onclick: () => { hide(); undo(); } }, "Undo"));
  }
  bar.hidden = false;
  expire(bar);
}

function expire(bar) {
  hiding = setTimeout(() => {
    if (bar.matches(":hover, :focus-within")) expire(bar);
    else bar.hidden = true;
  }, undoTime);
}

// announce is for screen readers alone.
export function announce(sentence) {
  text(at("announcer"), sentence);
}

// permit asks for desktop notifications and reports whether they are allowed.
export async function permit() {
  if (!("Notification" in window)) return false;
  return (await Notification.requestPermission()) === "granted";
}

export async function notify(title, body) {
  if (!settings.notify || !("Notification" in window) || Notification.permission !== "granted") return;
  const options = { body, tag: "pomodoro", icon: "/assets/icon-192.png" };
  // Phones show notifications of a service worker only.
  const worker = await navigator.serviceWorker?.getRegistration();
  if (worker) await worker.showNotification(title, options);
  else new Notification(title, options);
}
