// A worker, because a browser slows the timers of a page in the background and
// leaves a worker's alone: it says tick when what is left passes a whole second.

let end = null;
let waiting = 0;

onmessage = (event) => {
  end = event.data; // in milliseconds, or null to be quiet
  clearTimeout(waiting);
  tick();
};

function tick() {
  if (end === null) return;
  postMessage(null);
  const fraction = (((end - Date.now()) % 1000) + 1000) % 1000;
  waiting = setTimeout(tick, fraction + 5);
}
