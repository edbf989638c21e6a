// What happens in one tab is told to all of them, this one included. Only the
// subject travels: whoever is told reads the store.

const wire = "BroadcastChannel" in globalThis ? new BroadcastChannel("pomodoro") : null;
const ears = new Map(); // subject → functions

export function hear(subject, f) {
  ears.set(subject, [...(ears.get(subject) ?? []), f]);
}

export function tell(subject) {
  wire?.postMessage(subject);
  deliver(subject);
}

// deliver tells this tab alone.
export function deliver(subject) {
  for (const f of ears.get(subject) ?? []) f();
}

wire?.addEventListener("message", (event) => deliver(event.data));
