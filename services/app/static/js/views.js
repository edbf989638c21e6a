// One page, three addresses. A view is a section of the page with a name; it is
// told when it is entered and when it is left.

import { at } from "./dom.js";

const views = new Map(); // name → { enter(location), leave() }
let current = null;

export function view(name, hooks) {
  views.set(name, hooks);
}

// nameOf returns the view of a path; an unknown one is the timer's.
function nameOf(path) {
  if (path === "/statistics") return "statistics";
  if (path === "/team" || path.startsWith("/team/")) return "team";
  return "timer";
}

export function go(path) {
  if (path !== location.pathname + location.search) history.pushState(null, "", path);
  show();
}

export const shown = () => current;

export function show() {
  const next = nameOf(location.pathname);
  if (next !== current) {
    views.get(current)?.leave?.();
    for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== `${next}-view`;
    for (const link of document.querySelectorAll("nav a")) {
      if (nameOf(link.pathname) === next && !link.pathname.startsWith("/blog")) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    const first = current === null;
    current = next;
    document.body.dataset.view = next;
    if (!first) at("main").focus({ preventScroll: true });
  }
  views.get(next)?.enter?.(location);
}

addEventListener("popstate", show);
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (!link || !plain || link.origin !== location.origin || link.target || !link.matches("[data-inside]")) return;
  event.preventDefault();
  go(link.pathname + link.search);
});
