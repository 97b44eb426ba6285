// The lanes: a row for each client, in which time runs to the left.
//
// The canvas is as high as what one sees of it and stays in view while its frame is scrolled;
// only the lanes in view are drawn. What is drawn is what the store has; nothing is kept here
// but where things are.

import { setAttribute } from "./dom.js";
import { drawDiamond, drawHistory, drawWords } from "./lane.js";
import { STATES, makePatterns } from "./states.js";
import { LANE_SECONDS } from "./store.js";
import { clock, plural } from "./units.js";

const AXIS = 24; // px, for the times on top
const SHORTEST = 15; // seconds that are shown at least

export class LanesView {
  constructor(frame, canvas, filler, empty, store, onPick) {
    this.frame = frame;
    this.canvas = canvas;
    this.filler = filler;
    this.empty = empty;
    this.store = store;
    this.context = canvas.getContext("2d");
    this.hovered = -1; // the row under the pointer
    this.drawnAt = null; // ms
    this.steady = matchMedia("(prefers-reduced-motion: reduce)");
    this.pointerY = null;
    frame.addEventListener("pointermove", (event) => this.#point(event.clientY));
    frame.addEventListener("pointerleave", () => this.#point(null));
    frame.addEventListener("click", (event) => {
      const lane = this.store.order[this.#rowAt(event.clientY)];
      if (lane) onPick(lane.id);
    });
  }

  #rowAt(clientY) {
    const y = clientY - this.canvas.getBoundingClientRect().top;
    if (y < AXIS) return -1;
    return Math.floor((y - AXIS + this.frame.scrollTop) / this.rowHeight);
  }

  #point(clientY) {
    this.hovered = clientY === null ? -1 : this.#rowAt(clientY);
    this.frame.classList.toggle("pointing", this.hovered >= 0 && this.hovered < this.store.order.length);
  }

  // Sizes and colours; after a document, a resize, another theme.
  layout(colours) {
    const lanes = this.store.order.length;
    this.colours = colours;
    this.empty.hidden = lanes > 0 || this.store.document === null;
    this.canvas.hidden = lanes === 0;
    this.rowHeight = lanes <= 10 ? 36 : lanes <= 18 ? 30 : 24;
    const total = lanes ? AXIS + lanes * this.rowHeight + 4 : 0;
    this.frame.style.setProperty("--lanes-height", `${total}px`);
    const width = this.frame.clientWidth;
    const height = Math.min(total, this.frame.clientHeight);
    this.filler.style.height = `${Math.max(0, total - height)}px`;
    const ratio = Math.min(3, devicePixelRatio || 1);
    if (this.width !== width || this.height !== height || this.ratio !== ratio || this.patternsOf !== colours) {
      Object.assign(this, { width, height, ratio, patternsOf: colours });
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
      this.canvas.style.height = `${height}px`;
      this.patterns = makePatterns(this.context, colours, ratio);
      this.narrow = width < 560;
      this.left = this.narrow ? 62 : 196;
      this.right = width - (this.narrow ? 58 : 82);
    }
  }

  // Whom the picture shows, for those who do not see it.
  describe(counts) {
    const words = STATES.filter(({ name }) => counts[name]).map(({ name, label }) => `${counts[name]} ${label}`);
    setAttribute(this.canvas, "aria-label", `Lanes of ${plural(this.store.order.length, "client")}: ${words.join(", ") || "none"}`);
  }

  // Draw the picture as of `now`, milliseconds of performance.now().
  draw(now) {
    if (!this.width || !this.height || !this.store.order.length) return;
    const on = this.context;
    const edge = this.store.edge(now);
    const age = now / 1000 + this.store.offset - edge; // what a live clock is ahead of the edge
    // Soon after the start there is less to show, which then takes all the room.
    const room = this.right - this.left;
    const longest = Math.min(LANE_SECONDS - 5, Math.max(20, room / 14));
    this.perSecond = room / Math.min(longest, Math.max(SHORTEST, edge - this.store.since));
    const past = Math.min(age, 1.5 * this.store.period);
    const x = (time) => this.right - (edge - time) * this.perSecond;
    const moved = this.steady.matches || this.drawnAt === null ? 1 : 1 - Math.exp((this.drawnAt - now) / 120);
    this.drawnAt = now;
    on.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    on.clearRect(0, 0, this.width, this.height);
    for (const pattern of Object.values(this.patterns)) {
      // The patterns move with what they fill.
      pattern.setTransform(new DOMMatrix([1 / this.ratio, 0, 0, 1 / this.ratio, x(Math.floor(edge)) % 8, 0]));
    }
    const scrolled = this.frame.scrollTop;
    const marks = this.#marksByLane(edge);
    on.save();
    on.beginPath();
    on.rect(0, AXIS, this.width, this.height - AXIS);
    on.clip();
    this.#drawGrid(on, edge, x, AXIS, this.height);
    const drawRow = (lane, row, covering) => {
      const top = AXIS + lane.y - scrolled;
      if (top > this.height || top + this.rowHeight < AXIS) return;
      const middle = top + this.rowHeight / 2;
      if (row === this.hovered || covering) {
        on.fillStyle = row === this.hovered ? this.colours.raised : this.colours.panel;
        on.fillRect(0, top, this.width, this.rowHeight);
        this.#drawGrid(on, edge, x, top, this.rowHeight);
      }
      on.globalAlpha = lane.goneAt === null ? 1 : Math.max(0.15, 0.7 - (edge - lane.goneAt) / 8);
      drawHistory(this, lane, middle, edge, x);
      for (const mark of marks.get(lane.id) ?? []) drawDiamond(this, x(mark.at), middle, 5);
      drawWords(this, lane, middle, past);
      on.globalAlpha = 1;
    };
    const passing = []; // lanes on their way to another place, above the others
    this.store.order.forEach((lane, row) => {
      const place = row * this.rowHeight;
      lane.y = lane.y === null ? place : lane.y + (place - lane.y) * moved;
      if (Math.abs(place - lane.y) < 0.5) lane.y = place;
      if (lane.y === place) drawRow(lane, row, false);
      else passing.push([lane, row]);
    });
    for (const [lane, row] of passing) drawRow(lane, row, true);
    on.restore();
    this.#drawAxis(on, edge, x, marks);
  }

  #marksByLane(edge) {
    const byLane = new Map();
    const oldest = edge - (this.right - this.left) / this.perSecond;
    for (const mark of this.store.marks) {
      if (mark.at < oldest || mark.at > edge) continue;
      if (byLane.has(mark.connection)) byLane.get(mark.connection).push(mark);
      else byLane.set(mark.connection, [mark]);
    }
    return byLane;
  }

  #drawGrid(on, edge, x, top, height) {
    on.fillStyle = this.colours.line;
    for (let time = Math.ceil((edge - 80) / 10) * 10; time <= edge; time += 10) {
      if (x(time) >= this.left) on.fillRect(Math.round(x(time)), top, 1, height);
    }
  }

  #drawAxis(on, edge, x, marks) {
    on.font = `11px ${this.colours.sans}`;
    on.textBaseline = "middle";
    on.textAlign = "center";
    on.fillStyle = this.colours.muted;
    const every = [5, 10, 20].find((step) => step * this.perSecond > 70) ?? 30;
    for (let time = Math.ceil((edge - 80) / every) * every; time <= edge; time += every) {
      const at = x(time);
      if (at >= this.left + 24 && at <= this.right - 58) on.fillText(clock(time), at, AXIS / 2);
    }
    on.textAlign = "right";
    on.fillText("now", this.right, AXIS / 2);
    on.textAlign = "left";
    on.fillText("client", 8, AXIS / 2);
    for (const list of marks.values()) {
      for (const mark of list) if (x(mark.at) > this.left) drawDiamond(this, x(mark.at), AXIS - 4, 3);
    }
  }
}
