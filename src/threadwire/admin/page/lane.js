// One lane of the picture: what a client did, the hand-offs, and who it is. `view` is the
// LanesView that it is drawn in, which knows the sizes and colours.

import { LABEL, shownState } from "./states.js";
import { BLIP } from "./store.js";
import { brief, peer, rate, seconds } from "./units.js";

const FEW = 4; // messages a second up to which each is drawn by itself
const UNKNOWN = 3.5; // periods between two samples beyond which nobody knows what was between

// What a client did, as far as it is in view; `x(time)` is where a time lies.
export function drawHistory(view, lane, middle, edge, x) {
  const on = view.context;
  on.save();
  on.beginPath();
  on.rect(view.left, middle - view.rowHeight / 2, view.right - view.left, view.rowHeight);
  on.clip();
  // That it is there is known all the time, what it did only where there are samples.
  on.fillStyle = view.colours.line;
  const born = Math.max(view.left, x(lane.bornAt));
  on.fillRect(born, middle - 0.5, x(Math.min(edge, lane.seenAt)) - born, 1);
  let run = null; // parts of one state that touch: {state, points: [x, half the height]}
  for (const [from, to, state, speed] of partsOf(view, lane, edge)) {
    const half = halfHeight(view, state, speed);
    const start = x(from);
    if (run === null || run.state !== state || start - run.points.at(-1)[0] > 1) {
      if (run) drawRun(view, run, middle);
      run = { state, points: [[start, half]] };
    }
    run.points.push([x(to), half]);
    if (state === "loop" && speed < FEW) {
      drawRun(view, run, middle);
      drawMessages(view, start, x(to), Math.max(1, Math.round(speed * (to - from))), middle);
      run = null;
    }
  }
  if (run) drawRun(view, run, middle);
  on.restore();
}

// A lane's history as [from, to, state, rate], what is in view only.
function* partsOf(view, lane, edge) {
  const oldest = edge - (view.right - view.left) / view.perSecond;
  let before = null;
  for (const sample of lane.samples) {
    const [time, state, speed, busy] = sample;
    const known = before !== null && time - before[0] < UNKNOWN * view.store.period;
    let from = known ? before[0] : Math.max(lane.bornAt, time - view.store.period);
    if (time >= oldest && from < edge) {
      if (state === "blocked" && busy !== null) {
        // It is known when that began: within this part, or before there was anything to see.
        if (known && time - busy > from) yield [from, time - busy, before[1] === "blocked" ? "own-thread" : before[1], speed];
        if (!known || time - busy > from) from = time - busy;
      }
      yield [from, time, state, speed];
    }
    before = sample;
  }
}

// The faster, the thicker, by the logarithm; single messages are drawn one by one.
function halfHeight(view, state, speed) {
  const full = (view.rowHeight - 6) / 2;
  const lively = 1.25 + (full * 0.9 - 1.25) * Math.min(1, Math.log10(1 + speed / FEW) / 3.6);
  if (state === "loop" && speed < FEW) return 1;
  if (state === "blocked") return full;
  if (state === "waiting") return full * 0.7;
  if (state === "own-thread") return Math.max(full * 0.5, lively);
  if (state === "loop") return lively;
  if (state === "idle") return 1;
  return full * 0.4;
}

function drawRun(view, { state, points }, middle) {
  const on = view.context;
  const first = points[0][0];
  const last = points.at(-1)[0];
  on.fillStyle = view.patterns[state] ?? view.colours.states[state];
  on.beginPath();
  if (state === "loop" || state === "own-thread") {
    for (const [at, half] of points) on.lineTo(at, middle - half);
    for (const [at, half] of points.reverse()) on.lineTo(at, middle + half);
    on.fill();
  } else if (state === "opening" || state === "closing") {
    on.strokeStyle = view.colours.states[state];
    on.lineWidth = 1.5;
    on.strokeRect(first, middle - points[0][1], last - first, 2 * points[0][1]);
  } else {
    const half = points[0][1];
    on.roundRect(first, middle - half, Math.max(1, last - first), 2 * half, half > 2 ? 3 : 0);
    on.fill();
  }
}

// A few messages within a part, each a stroke.
function drawMessages(view, start, end, number, middle) {
  const on = view.context;
  const half = (view.rowHeight - 6) / 4;
  on.fillStyle = view.colours.states.loop;
  for (let place = 0; place < number; place += 1) {
    on.fillRect(start + ((place + 0.5) / number) * (end - start) - 1, middle - half, 2, 2 * half);
  }
}

// A hand-off.
export function drawDiamond(view, x, y, size) {
  const on = view.context;
  on.beginPath();
  on.moveTo(x, y - size);
  on.lineTo(x + size, y);
  on.lineTo(x, y + size);
  on.lineTo(x - size, y);
  on.closePath();
  on.fillStyle = view.colours.handoff;
  on.strokeStyle = view.colours.panel;
  on.lineWidth = 1.5;
  on.stroke();
  on.fill();
}

// Who it is, on the left, and how it is, on the right; `past` seconds ago its document was made.
export function drawWords(view, lane, middle, past) {
  const on = view.context;
  const { client } = lane;
  const state = shownState(client);
  on.textBaseline = "middle";
  on.textAlign = "left";
  on.font = `600 12px ${view.colours.mono}`;
  on.fillStyle = view.colours.ink;
  on.fillText(`#${client.id}`, 8, middle, view.left - 12);
  const numberEnds = 8 + Math.max(44, on.measureText(`#${client.id} `).width);
  on.font = `12px ${view.colours.mono}`;
  on.fillStyle = view.colours.muted;
  if (!view.narrow) on.fillText(shortened(on, lane, view.left - 10 - numberEnds), numberEnds, middle);
  on.textAlign = "right";
  const blocked = state === "blocked" && client.busy !== null && lane.seenAt === view.store.document.time;
  let words = LABEL[state];
  if (state === "loop") words = `${rate(client.rate)}/s`;
  if (state === "idle") words = `${view.narrow ? "" : "idle "}${brief(Math.max(0, client.idle + past))}`;
  if (lane.seenAt !== view.store.document.time) words = "…"; // it is left out just now
  if (lane.goneAt !== null) words = "left";
  if (blocked) {
    on.font = `700 12px ${view.colours.sans}`;
    on.fillStyle = view.colours.states.blocked;
    words = seconds(client.busy < BLIP ? client.busy : client.busy + past);
  } else {
    on.font = `12px ${view.colours.sans}`;
  }
  on.fillText(words, view.width - 8, middle, view.width - view.right - 12);
  if (blocked && client.busy >= BLIP) drawLine(view, client, middle);
}

// Where a blocked handler stands, upon its bar; the table has the file's whole path.
function drawLine(view, client, middle) {
  const on = view.context;
  const room = view.right - view.left - 24;
  const line = (client.line ?? "an unknown line").replace(/^.*\//, "").slice(0, 200);
  const text = view.narrow ? line : `blocked at ${line}`;
  on.font = `12px ${view.colours.mono}`;
  const width = Math.min(room, on.measureText(text).width);
  const height = Math.min(22, view.rowHeight - 6);
  on.beginPath();
  on.roundRect(view.right - width - 13.5, middle - height / 2 + 0.5, width + 13, height - 1, 3);
  on.fillStyle = view.colours.panel;
  on.fill();
  on.strokeStyle = view.colours.states.blocked;
  on.lineWidth = 1;
  on.stroke();
  on.fillStyle = view.colours.ink;
  on.fillText(text, view.right - 7, middle, room);
}

// The peer's address, cut in the middle if there is no room.
function shortened(on, lane, room) {
  if (lane.label?.room === room) return lane.label.text;
  const whole = peer(lane.client.peer);
  let text = whole.slice(0, 120);
  for (let kept = text.length; kept > 4 && on.measureText(text).width > room; kept -= 1) {
    text = `${whole.slice(0, Math.ceil(kept / 3))}…${whole.slice(whole.length - Math.floor((2 * kept) / 3))}`;
  }
  lane.label = { room, text };
  return text;
}
