// The charts of up to five minutes. All have the same times; where one points in one of
// them, all are read off.

import { make, setAttribute, setText } from "./dom.js";
import { bytes, clock, count, rate, seconds } from "./units.js";

const LONGEST = 300; // seconds
const SHORTEST = 60; // seconds, while there is less to show
const LEFT = 54; // px, for the values
const BOTTOM = 20; // px, for the times
const TOP = 8;
const HEIGHT = 150; // px in all

// Each line: name, value of a point, and how it looks. "dash" tells lines apart without colour.
const CHARTS = [
  {
    title: "Messages a second",
    format: rate,
    handoffs: true,
    lines: [{ name: "received", colour: "loop", value: (point) => point.messages_per_second, filled: true }],
  },
  {
    title: "Time in the handler",
    format: seconds,
    log: true,
    lines: [
      { name: "max", colour: "blocked", value: (point) => point.handler?.max, dash: [2, 3] },
      { name: "p99", colour: "waiting", value: (point) => point.handler?.p99, dash: [7, 3] },
      { name: "p50", colour: "loop", value: (point) => point.handler?.p50 },
    ],
  },
  {
    title: "A turn of the loop",
    format: seconds,
    log: true,
    lines: [
      { name: "turn p99", colour: "loop", value: (point) => point.turn?.p99 },
      { name: "lock wait p99", colour: "opening", value: (point) => point.lock_wait?.p99, dash: [7, 3] },
    ],
  },
  {
    title: "Clients",
    format: count,
    whole: true,
    lines: [{ name: "open", colour: "loop", value: (point) => point.connections, filled: true }],
  },
  {
    title: "Own threads",
    format: count,
    whole: true,
    lines: [{ name: "in use", colour: "own-thread", value: (point) => point.own_threads, filled: true }],
  },
  {
    title: "Bytes a second",
    format: bytes,
    unit: 1024,
    lines: [
      { name: "in", colour: "loop", value: (point) => point.bytes_received_per_second },
      { name: "out", colour: "own-thread", value: (point) => point.bytes_sent_per_second, dash: [7, 3] },
    ],
  },
];

export class Charts {
  constructor(frame, reading, store) {
    this.frame = frame;
    this.reading = reading;
    this.store = store;
    this.span = LONGEST; // seconds that are shown
    this.cursor = null; // a point's time that is read off; null for the newest
    this.charts = CHARTS.map((spec) => this.#make(spec));
    frame.addEventListener("keydown", (event) => this.#key(event));
    frame.addEventListener("pointerleave", () => this.#read(null));
    frame.addEventListener("blur", () => this.#read(null));
  }

  #make(spec) {
    const values = spec.lines.map((line) => make("output", { data: { line: line.name } }, "–"));
    const keys = spec.lines.map((line, number) => {
      const key = make("span", { className: "key", data: { colour: line.colour, dash: line.dash ? line.dash[0] : 0 } });
      return make("span", { className: "reading" }, key, `${line.name} `, values[number]);
    });
    const canvas = make("canvas", { attributes: { role: "img" } });
    const caption = make("figcaption", {}, make("h3", {}, spec.title), make("p", { className: "readings" }, ...keys));
    this.frame.append(make("figure", { className: "panel chart" }, caption, canvas));
    canvas.addEventListener("pointermove", (event) => {
      const share = (event.offsetX - LEFT) / (canvas.clientWidth - LEFT - 6);
      this.#read(this.end - (1 - share) * this.span);
    });
    return { spec, canvas, values };
  }

  #key(event) {
    const points = this.store.series;
    if (!points.length) return;
    const newest = points.at(-1).time;
    const from = this.cursor ?? newest;
    const step = event.shiftKey ? 10 : 1;
    if (event.key === "ArrowLeft") this.#read(Math.max(points[0].time, from - step));
    else if (event.key === "ArrowRight") this.#read(Math.min(newest, from + step));
    else if (event.key === "Home") this.#read(points[0].time);
    else if (event.key === "End" || event.key === "Escape") this.#read(null);
    else return;
    event.preventDefault();
    const point = this.#point();
    const words = CHARTS.map(({ title, lines, format }) => {
      const values = lines.map((line) => `${line.name} ${show(line.value(point), format)}`);
      return `${title}: ${values.join(", ")}`;
    });
    setText(this.reading, `${clock(point.time)}. ${words.join(". ")}.`);
  }

  #read(time) {
    if (time === null && this.cursor === null) return;
    this.cursor = time;
    this.draw(this.colours);
  }

  // The point that is read off.
  #point() {
    const points = this.store.series;
    if (this.cursor === null) return points.at(-1);
    let best = points[0];
    for (const point of points) {
      if (Math.abs(point.time - this.cursor) < Math.abs(best.time - this.cursor)) best = point;
    }
    return best;
  }

  draw(colours) {
    this.colours = colours;
    this.end = this.store.document?.time ?? Date.now() / 1000;
    const known = this.end - (this.store.series[0]?.time ?? this.end);
    this.span = Math.min(LONGEST, Math.max(SHORTEST, Math.ceil(known)));
    const point = this.#point();
    for (const chart of this.charts) {
      const { spec, values } = chart;
      spec.lines.forEach((line, number) => setText(values[number], point ? show(line.value(point), spec.format) : "–"));
      this.#drawChart(chart, point);
    }
  }

  // What the pictures show, for those who do not see them.
  describe() {
    for (const { spec, canvas } of this.charts) {
      const words = spec.lines.map((line) => {
        const known = this.store.series.map(line.value).filter((value) => value !== null && value !== undefined);
        if (!known.length) return `${line.name}: nothing yet`;
        const [least, most] = [Math.min(...known), Math.max(...known)];
        return `${line.name}: now ${spec.format(known.at(-1))}, between ${spec.format(least)} and ${spec.format(most)}`;
      });
      setAttribute(canvas, "aria-label", `${spec.title}, the last minutes. ${words.join("; ")}`);
    }
  }

  #drawChart({ spec, canvas }, point) {
    const width = canvas.clientWidth;
    if (!width) return;
    const ratio = Math.min(3, devicePixelRatio || 1);
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(HEIGHT * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(HEIGHT * ratio);
    }
    const on = canvas.getContext("2d");
    on.setTransform(ratio, 0, 0, ratio, 0, 0);
    on.clearRect(0, 0, width, HEIGHT);
    const points = this.store.series.filter(({ time }) => time >= this.end - this.span);
    const x = (time) => width - 6 - ((this.end - time) / this.span) * (width - 6 - LEFT);
    const scale = spec.log ? logScale(spec, points) : linearScale(spec, points);
    const y = (value) => HEIGHT - BOTTOM - scale.share(value) * (HEIGHT - BOTTOM - TOP);
    this.#drawAxes(on, spec, scale, x, y, width);
    for (const line of spec.lines) this.#drawLine(on, line, points, x, y);
    if (spec.handoffs) this.#drawHandoffs(on, x);
    if (this.cursor !== null && point) {
      on.fillStyle = this.colours.muted;
      on.fillRect(Math.round(x(point.time)), TOP, 1, HEIGHT - BOTTOM - TOP);
      on.textAlign = x(point.time) > width - 70 ? "right" : "left";
      on.fillText(clock(point.time), x(point.time) + (on.textAlign === "left" ? 5 : -5), TOP + 4);
    }
  }

  #drawAxes(on, spec, scale, x, y, width) {
    on.font = `11px ${this.colours.sans}`;
    on.textBaseline = "middle";
    on.textAlign = "right";
    for (const tick of scale.ticks) {
      on.fillStyle = this.colours.line;
      on.fillRect(LEFT, Math.round(y(tick)), width - LEFT, 1);
      on.fillStyle = this.colours.muted;
      on.fillText(spec.format(tick).replace(".0 ", " "), LEFT - 6, y(tick));
    }
    on.textAlign = "center";
    const every = this.span > 150 ? 60 : 20;
    for (let time = Math.ceil((this.end - this.span) / every) * every; time <= this.end; time += every) {
      if (x(time) < LEFT + 24 || x(time) > width - 26) continue;
      on.fillText(every === 60 ? clock(time).slice(0, 5) : clock(time), x(time), HEIGHT - BOTTOM / 2 + 2);
    }
  }

  #drawLine(on, line, points, x, y) {
    const colour = this.colours.states[line.colour];
    on.strokeStyle = on.fillStyle = colour;
    on.lineWidth = 1.75;
    on.lineJoin = "round";
    // A line ends where a value is missing, or a time that no point tells of, and begins anew behind.
    let piece = [];
    const finish = () => {
      if (!piece.length) return;
      on.setLineDash(line.dash ?? []);
      on.beginPath();
      for (const [at, value] of piece) on.lineTo(at, value);
      on.lineCap = piece.length === 1 ? "round" : "butt";
      if (piece.length === 1) on.lineTo(piece[0][0] + 0.5, piece[0][1]);
      on.stroke();
      if (line.filled) {
        on.lineTo(piece.at(-1)[0], HEIGHT - BOTTOM);
        on.lineTo(piece[0][0], HEIGHT - BOTTOM);
        on.globalAlpha = 0.14;
        on.fill();
        on.globalAlpha = 1;
      }
      piece = [];
    };
    let before = null;
    for (const point of points) {
      const value = line.value(point);
      if (before !== null && point.time - (point.seconds ?? 0) - before > 4) finish();
      if (value === null || value === undefined) finish();
      else piece.push([x(point.time), y(value)]);
      before = point.time;
    }
    finish();
    on.setLineDash([]);
  }

  #drawHandoffs(on, x) {
    on.fillStyle = this.colours.handoff;
    for (const { at } of this.store.marks) {
      if (at < this.end - this.span) continue;
      on.beginPath();
      on.moveTo(x(at), HEIGHT - BOTTOM - 8);
      on.lineTo(x(at) + 4, HEIGHT - BOTTOM - 4);
      on.lineTo(x(at), HEIGHT - BOTTOM);
      on.lineTo(x(at) - 4, HEIGHT - BOTTOM - 4);
      on.fill();
    }
  }
}

function show(value, format) {
  return value === null || value === undefined ? "–" : format(value);
}

function valuesOf(spec, points) {
  return spec.lines.flatMap((line) => points.map(line.value)).filter((value) => value !== null && value !== undefined);
}

// From nought to a round number, with three or four lines.
function linearScale(spec, points) {
  const most = Math.max(...valuesOf(spec, points), spec.whole ? 4 : 1);
  const unit = spec.unit ? spec.unit ** Math.floor(Math.log(most) / Math.log(spec.unit)) : 1;
  let step = unit * 10 ** Math.floor(Math.log10(most / unit / 2));
  for (const factor of [2, 2.5, 2]) if (most / step > 4) step *= factor;
  if (spec.whole) step = Math.max(1, Math.round(step));
  const top = Math.ceil(most / step) * step;
  const ticks = [];
  for (let tick = 0; tick <= top * 1.001; tick += step) ticks.push(tick);
  return { ticks, share: (value) => value / top };
}

// Whole decades, three at least.
function logScale(spec, points) {
  const values = valuesOf(spec, points).filter((value) => value > 0);
  let low = Math.floor(Math.log10(Math.min(...values, 1)));
  let high = Math.ceil(Math.log10(Math.max(...values, 1e-6)));
  if (!values.length) [low, high] = [-6, 0];
  low = Math.max(-7, Math.min(low, high - 3));
  const every = high - low > 5 ? 2 : 1;
  const ticks = [];
  for (let decade = low; decade <= high; decade += every) ticks.push(10 ** decade);
  return { ticks, share: (value) => Math.max(0, (Math.log10(Math.max(value, 1e-9)) - low) / (high - low)) };
}
