// What has ended waits in localStorage until the api has it. Each entry has a
// key of its own, so that sending it twice stores it once.

const place = "pomodoro.pending";

function pending() {
  try {
    const list = JSON.parse(localStorage.getItem(place));
    return Array.isArray(list) ? list : [];
  } catch {
    return [];
  }
}

function keep(list) {
  localStorage.setItem(place, JSON.stringify(list));
}

function newKey() {
  // randomUUID exists in secure contexts only, and a laptop may serve http.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

export function add(doc) {
  keep([...pending(), { key: newKey(), doc }]);
}

export async function whoAmI() {
  try {
    const answer = await fetch("/auth/info", { headers: { Accept: "application/json" } });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

let sending = null;

// flush sends what waits, in order. It stops where the api cannot be reached
// or nobody is logged in, and goes on at the next call.
export function flush() {
  sending ??= send().catch(() => {}).finally(() => { sending = null; });
  return sending;
}

async function send() {
  for (let [first] = pending(); first; [first] = pending()) {
    const answer = await fetch("/api/pomodoro", {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": first.key },
      body: JSON.stringify(first.doc),
    });
    // 409 and 422 stay what they are however often they are sent.
    if (!answer.ok && answer.status !== 409 && answer.status !== 422) return;
    keep(pending().filter((item) => item.key !== first.key));
  }
}
