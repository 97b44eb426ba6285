// What a client may be doing, in the words of the documents, and how that looks.

// In the order in which they call for attention. A lane of one state is told from one of
// another by colour, by pattern and by height.
export const STATES = [
  { name: "blocked", label: "blocked", meaning: "its handler blocks, on a thread of its own" },
  { name: "waiting", label: "waiting", meaning: "waits for a thread of its own: max_threads serve others" },
  { name: "own-thread", label: "own thread", meaning: "has a thread of its own, which waits for the peer" },
  { name: "loop", label: "in the loop", meaning: "the loop serves it" },
  { name: "opening", label: "opening", meaning: "its TLS handshake or PROXY header is under way" },
  { name: "closing", label: "closing", meaning: "ends, and says what it still has to say" },
  { name: "idle", label: "idle", meaning: "nothing was said in the last second" },
];

// How much a client calls for attention: the lower, the more.
export const RANK = Object.fromEntries(STATES.map((state, rank) => [state.name, rank]));
export const LABEL = Object.fromEntries(STATES.map((state) => [state.name, state.label]));

// A quick handler is never caught at work by a look once a second: whoever had messages since
// the last one counts as in the loop.
export function shownState(client) {
  return client.state === "idle" && client.rate > 0 ? "loop" : client.state;
}

// How many clients there are of each state, those that a document leaves out among them:
// "active" tells how many idle ones had messages.
export function countStates({ states, shown, active }) {
  const counts = Object.fromEntries(STATES.map(({ name }) => [name, states[name] ?? 0]));
  const lively = active ?? shown.filter((client) => client.state === "idle" && client.rate > 0).length;
  counts.idle -= lively;
  counts.loop += lively;
  return counts;
}

// Colours come from the style sheet, which knows the theme.
export function readColours() {
  const probe = document.body.appendChild(document.createElement("i"));
  const colour = (name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const font = (name) => getComputedStyle(probe).getPropertyValue(name);
  const colours = {
    states: Object.fromEntries(STATES.map((state) => [state.name, colour(`--${state.name}`)])),
    ink: colour("--ink"),
    muted: colour("--muted"),
    panel: colour("--panel"),
    raised: colour("--raised"),
    line: colour("--line"),
    stripe: colour("--stripe"),
    handoff: colour("--handoff"),
    mono: font("--mono"),
    sans: font("--sans"),
  };
  probe.remove();
  return colours;
}

// The patterns for one canvas: context -> fill of each state that has one.
export function makePatterns(context, colours, ratio) {
  const size = Math.round(8 * ratio);
  const draw = (background, paint) => {
    const tile = document.createElement("canvas");
    tile.width = tile.height = size;
    const on = tile.getContext("2d");
    on.fillStyle = background;
    on.fillRect(0, 0, size, size);
    paint(on);
    return context.createPattern(tile, "repeat");
  };
  const diagonal = (on) => {
    on.strokeStyle = colours.stripe;
    on.lineWidth = size * 0.22;
    for (const shift of [-size, 0, size]) {
      on.beginPath();
      on.moveTo(shift - 1, size + 1);
      on.lineTo(shift + size + 1, -1);
      on.stroke();
    }
  };
  const upright = (on) => {
    on.fillStyle = colours.stripe;
    on.fillRect(0, 0, size * 0.25, size);
  };
  const dots = (on) => {
    on.fillStyle = colours.stripe;
    on.beginPath();
    on.arc(size / 2, size / 2, size * 0.22, 0, 7);
    on.fill();
  };
  return {
    blocked: draw(colours.states.blocked, diagonal),
    "own-thread": draw(colours.states["own-thread"], upright),
    waiting: draw(colours.states.waiting, dots),
  };
}
