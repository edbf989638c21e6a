// The tab's icon shows the minutes left; it is drawn again when they change.

import { at } from "./dom.js";

const plain = at("icon").getAttribute("href");
let shown = "";

export function show(timer, left) {
  const minutes = Math.ceil(left / 60_000);
  const wanted = timer ? `${timer.type} ${minutes}` : "";
  if (wanted === shown) return;
  shown = wanted;
  at("icon").href = timer ? picture(timer.type === "break" ? "#2b8500" : "#DF2E2E", String(minutes)) : plain;
}

function picture(ground, number) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 32;
  const c = canvas.getContext("2d");
  c.fillStyle = ground;
  c.beginPath();
  c.arc(16, 16, 16, 0, 2 * Math.PI);
  c.fill();
  c.fillStyle = "#fff";
  c.font = "bold 18px sans-serif";
  c.textAlign = "center";
  c.textBaseline = "middle";
  c.fillText(number, 16, 17);
  return canvas.toDataURL("image/png");
}
