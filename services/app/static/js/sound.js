// Sounds are made here, not loaded: gentle ones, short, and each can be off.

import { settings } from "./settings.js";

let context = null;

// A browser allows sound after the first gesture only.
export function allow() {
  if (!("AudioContext" in window)) return;
  context ??= new AudioContext();
  if (context.state === "suspended") context.resume();
}

// An alarm is a list of notes: hertz, seconds from the beginning, how long it
// rings, how loud.
const alarms = {
  bell: [[660, 0, 2.5, 0.25], [1320, 0, 1.5, 0.08], [1983, 0, 0.8, 0.04]],
  chime: [[523, 0, 1.2, 0.2], [659, 0.25, 1.2, 0.2], [784, 0.5, 1.8, 0.2]],
  bowl: [[220, 0, 4, 0.3], [442, 0, 3, 0.12], [887, 0, 2, 0.04]],
  wood: [[880, 0, 0.12, 0.3], [880, 0.25, 0.12, 0.3], [660, 0.5, 0.2, 0.3]],
};

export function ring(alarm = settings.alarm) {
  if (settings.ring) play(alarms[alarm] ?? alarms.bell);
}

export function tick() {
  if (settings.tick) play([[1200, 0, 0.03, 0.03]]);
}

function play(notes) {
  if (context?.state !== "running") return;
  for (const [hertz, delay, length, loud] of notes) {
    const tone = context.createOscillator();
    const volume = context.createGain();
    const begin = context.currentTime + delay;
    tone.frequency.value = hertz;
    volume.gain.setValueAtTime(0, begin);
    volume.gain.linearRampToValueAtTime(loud, begin + 0.01); // a sudden start would click
    volume.gain.exponentialRampToValueAtTime(0.0001, begin + length);
    tone.connect(volume).connect(context.destination);
    tone.start(begin);
    tone.stop(begin + length);
  }
}
