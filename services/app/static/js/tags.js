// Tags of the work that runs or comes next, with those used before suggested.

import { me } from "./account.js";
import { at, make } from "./dom.js";
import { hear } from "./channel.js";
import { between } from "./entries.js";
import * as running from "./running.js";
import { set, settings } from "./settings.js";
import { isWork, limits } from "./timer.js";
import { announce, say } from "./notice.js";

const remembered = 90 * 86_400_000;

const user = () => me()?.id ?? null;

// chosen are the tags for the next work; while work runs they are its own. Those
// that somebody else chose before a session ended are nobody's.
export function chosen() {
  const timer = running.running();
  if (timer && isWork(timer)) return timer.tags;
  return settings.tagsOf === null || settings.tagsOf === user() ? settings.tags : [];
}

// forget leaves no tag on the page.
export function forget() {
  set({ tags: [], tagsOf: null });
  at("known-tags").replaceChildren();
}

function choose(tags) {
  set({ tags, tagsOf: user() });
  const timer = running.running();
  if (timer && isWork(timer)) running.amend({ tags });
  show();
}

function add(written) {
  const tags = [...chosen()];
  for (const part of written.split(",")) {
    const tag = part.trim().replace(/\s+/g, " ");
    if (!tag || tags.includes(tag)) continue;
    if ([...tag].length > limits.tag) return say(`A tag has ${limits.tag} characters at most.`);
    if (tags.length === limits.tags) return say(`An entry has ${limits.tags} tags at most.`);
    tags.push(tag);
  }
  choose(tags);
  return true;
}

export function show() {
  const chips = chosen().map((tag) =>
    make("li", {}, tag, make("button", {
      type: "button",
      "aria-label": `Remove tag ${tag}`,
      onclick: () => {
        choose(chosen().filter((t) => t !== tag));
        announce(`Tag ${tag} removed`);
        at("tag").focus();
      },
    }, "×")));
  at("tags").replaceChildren(...chips);
}

async function suggest() {
  const used = new Map();
  for (const e of await between(Date.now() - remembered, Date.now() + 86_400_000)) {
    for (const tag of e.tags ?? []) used.set(tag, (used.get(tag) ?? 0) + 1);
  }
  const tags = [...used].sort((a, b) => b[1] - a[1]).map(([tag]) => tag).filter((tag) => !chosen().includes(tag));
  at("known-tags").replaceChildren(...tags.slice(0, 20).map((value) => make("option", { value })));
}

export function begin() {
  const field = at("tag");
  at("tag-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value.trim() && add(field.value)) field.value = "";
  });
  field.addEventListener("input", () => {
    if (field.value.includes(",") && add(field.value)) field.value = "";
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Backspace" && !field.value && chosen().length) choose(chosen().slice(0, -1));
  });
  field.addEventListener("focus", suggest);
  for (const subject of ["timer", "settings", "user"]) hear(subject, show);
  show();
}
