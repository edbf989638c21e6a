// The keyboard. Keys are for the page: not while somebody types, and not with
// modifiers, which belong to the browser and to screen readers.

const actions = new Map(); // key → function

export function bind(key, action) {
  actions.set(key, action);
}

const typing = "input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]";

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.defaultPrevented) return;
  if (event.target.closest?.(typing)) {
    if (event.key === "Escape") event.target.blur(); // back to the keys of the page
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  // A focused control takes the space itself.
  if (event.key === " " && event.target.closest?.("button, a, input, summary")) return;
  const action = actions.get(event.key.length === 1 ? event.key.toLowerCase() : event.key);
  if (!action) return;
  event.preventDefault();
  action();
});

// A button that was clicked with a mouse gives the focus back, so that the space
// is the timer's again; whoever goes by keyboard (detail is 0) keeps it. Before
// the button's own listener: a dialog returns the focus to where it was.
document.addEventListener("click", (event) => {
  if (event.detail > 0 && document.activeElement === event.target.closest?.("button, a")) document.activeElement.blur();
}, { capture: true });
