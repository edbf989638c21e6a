// Who is logged in. The session's cookie is not for scripts to see, so a mark
// remembers that a login was begun here; without it nobody is asked for, and a
// guest's console stays clean of 401.

import { deliver, hear, tell } from "./channel.js";
import { Refused, ask, askFor } from "./request.js";
import { save, saved } from "./store.js";

const place = "pomodoro.user"; // the user as last seen, so that it works offline
const mark = "pomodoro.login";

let user = saved(place, null);

hear("user", () => { user = saved(place, null); });
addEventListener("storage", (event) => {
  if (event.key === mark && event.newValue) identify();
  if (event.key === place) deliver("user"); // another tab's word may have come before what it speaks of
});

export const me = () => user;

function become(next) {
  if (JSON.stringify(next) === JSON.stringify(user)) return;
  user = next;
  save(place, user);
  tell("user");
}

// identify asks who is logged in. Where the api cannot be reached it stays
// whoever it was.
export async function identify() {
  if (!saved(mark, null)) return;
  try {
    become(await askFor(60_000, "GET", "/auth/info"));
  } catch (error) {
    if (error instanceof Refused && error.status === 401) ended();
  }
}

// ended notes that the api knows no session of ours any more.
export function ended() {
  save(mark, null);
  become(null);
}

export function beginLogin() {
  save(mark, true);
}

export async function providers() {
  try {
    return (await askFor(20_000, "GET", "/auth/providers"))?.providers ?? [];
  } catch {
    return [];
  }
}

// logout reports whether the api has ended the session.
export async function logout() {
  try {
    await ask("POST", "/auth/logout");
  } catch {
    return false;
  }
  ended();
  return true;
}
