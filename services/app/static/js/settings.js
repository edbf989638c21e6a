// What the visitor has chosen, remembered on this device.

import { hear, tell } from "./channel.js";
import { save, saved } from "./store.js";

const place = "pomodoro.settings";
const usual = { ring: true, alarm: "bell", tick: false, notify: false, autoBreak: false, custom: 45, tags: [], tagsOf: null, name: "" };

export const settings = { ...usual, ...saved(place, {}) };

export function set(change) {
  Object.assign(settings, change);
  save(place, settings);
  tell("settings");
}

hear("settings", () => Object.assign(settings, saved(place, {})));
