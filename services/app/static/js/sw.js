// The service worker: the page and its assets without a connection. What the
// site's api and blog answer is none of its business.

const cache = "pomodoro";
const ofPage = ["/assets/app.js", "/assets/app.css"]; // the page of another version names others
const assets = [...ofPage, "/assets/ticker.js", "/assets/icon.svg", "/assets/icon-192.png"];

// Only an answer that will never change may be kept under its name: in the
// middle of a deploy another version may have answered.
const lasting = (answer) => answer.ok && /immutable/.test(answer.headers.get("Cache-Control"));

addEventListener("install", (event) => {
  event.waitUntil(fill());
  skipWaiting();
});

// fill fails as a whole, and is then tried again at the next visit.
async function fill() {
  const kept = await caches.open(cache);
  for (const path of assets) {
    if (await kept.match(path)) continue;
    const answer = await fetch(path);
    if (!lasting(answer)) throw new Error(`${path}: not the answer of this version`);
    await kept.put(path, answer);
  }
  const page = await fetch("/", { cache: "reload" });
  const text = await page.clone().text();
  if (!page.ok || !ofPage.every((path) => text.includes(path))) throw new Error("/: not the page of this version");
  await kept.put("/", page);
}

addEventListener("activate", (event) => {
  event.waitUntil(sweep());
});

async function sweep() {
  await clients.claim();
  const kept = await caches.open(cache);
  for (const request of await kept.keys()) {
    const { pathname } = new URL(request.url);
    if (pathname !== "/" && !assets.includes(pathname)) await kept.delete(request);
  }
}

const elsewhere = /^\/(api|auth|blog)(\/|$)/;

addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== location.origin || elsewhere.test(url.pathname)) return;
  if (request.mode === "navigate") event.respondWith(page(request));
  else if (url.pathname.startsWith("/assets/")) event.respondWith(asset(request));
});

// page prefers the site's own answer, so that a new version is seen at once.
async function page(request) {
  const kept = await caches.match("/", { cacheName: cache });
  try {
    const answer = await fetch(request);
    return answer.status >= 500 && kept ? kept : answer;
  } catch (error) {
    if (kept) return kept;
    throw error;
  }
}

async function asset(request) {
  const kept = await caches.match(request, { cacheName: cache });
  return kept ?? fetch(request);
}

// A pressed notification leads to the page that is open already.
addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(show());
});

async function show() {
  const [open] = await clients.matchAll({ type: "window" });
  return open ? open.focus() : clients.openWindow("/");
}
