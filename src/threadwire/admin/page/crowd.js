// The crowd: every client a dot, grouped by state, for when there are more than lanes.

import { setAttribute } from "./dom.js";
import { STATES } from "./states.js";
import { count, plural } from "./units.js";

const HEIGHT = 132; // px at most
const LARGEST = 11; // px from a dot to the next
const SMALLEST = 3;

export function drawCrowd(canvas, counts, total, colours) {
  const width = canvas.clientWidth;
  if (!width || !total) return;
  const fits = (pitch) => Math.floor(width / pitch) * Math.floor(HEIGHT / pitch);
  let pitch = LARGEST;
  while (pitch > SMALLEST && fits(pitch) < total) pitch -= 0.25;
  const each = Math.max(1, Math.ceil(total / fits(pitch))); // clients a dot
  const columns = Math.floor(width / pitch);
  const dots = STATES.map(({ name }) => Math.ceil((counts[name] ?? 0) / each));
  const rows = Math.ceil(dots.reduce((sum, number) => sum + number, 0) / columns);
  const height = Math.ceil(rows * pitch);
  const ratio = Math.min(3, devicePixelRatio || 1);
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const on = canvas.getContext("2d");
  on.scale(ratio, ratio);
  const size = pitch > 5 ? pitch - 2 : pitch - 1;
  let place = 0;
  STATES.forEach(({ name }, number) => {
    on.fillStyle = colours.states[name];
    for (const end = place + dots[number]; place < end; place += 1) {
      on.fillRect((place % columns) * pitch, Math.floor(place / columns) * pitch, size, size);
    }
  });
  const words = STATES.filter(({ name }) => counts[name]).map(({ name, label }) => `${count(counts[name])} ${label}`);
  const dot = each === 1 ? "a dot each" : `a dot for every ${each}`;
  setAttribute(canvas, "aria-label", `${plural(total, "client")}, ${dot}: ${words.join(", ")}`);
}
