// The page: connects the stream, the store and the parts that show it, and draws when there is
// somebody to see it.

import { get, hasToken, setToken } from "./api.js";
import { Charts } from "./charts.js";
import { drawCrowd } from "./crowd.js";
import { DetailDialog, HelpDialog, TokenDialog, act } from "./dialogs.js";
import { byId, setText } from "./dom.js";
import { listen } from "./keys.js";
import { LanesView } from "./lanes.js";
import { showAll } from "./panels.js";
import { countStates, readColours } from "./states.js";
import { Store } from "./store.js";
import { Stream } from "./stream.js";
import { ClientsTable } from "./table.js";
import { brief, plural, rate } from "./units.js";

const FRAME = 30; // ms between two pictures of the lanes: 15 px a second need no more
const STALE = 3.5; // periods without a document after which the figures count as old
const REST = 30_000; // ms after which a page that nobody sees gives its stream back
const DESCRIBE = 10_000; // ms between two descriptions of the pictures, in words
const KEPT = 60; // documents that wait for the end of a pause with their clients

const store = new Store();
const detail = new DetailDialog();
const token = new TokenDialog(() => stream.start());
const table = new ClientsTable((id) => detail.open(id));
const lanes = new LanesView(byId("lanes"), byId("lanes-canvas"), byId("lanes-height"), byId("lanes-empty"), store, (id) => detail.open(id));
const charts = new Charts(byId("charts"), byId("charts-reading"), store);
const stream = new Stream(get, receive, (state) => {
  // An attempt to find back is no news until it has come to something.
  link = state.link === "connecting" && link.link === "lost" ? { ...link, nextAt: null } : state;
  byId("links").hidden = hasToken(); // a link cannot bear it
  if (state.link === "token") {
    token.open(hasToken());
    setToken(null);
  }
  showLink();
});

let link = { link: "connecting" };
let paused = null; // while paused: the documents that have come meanwhile, with their times
let pausedAt = 0; // what performance.now() was then
let colours = readColours();
let lanesInView = true;
let lastFrame = 0;
let described = -Infinity;
let restTimer = null;
let width = 0; // of what is shown, in px

function receive(document) {
  if (paused === null) {
    store.apply(document, performance.now());
    show();
    return;
  }
  paused.push([document, performance.now()]);
  const old = paused.at(-1 - KEPT)?.[0];
  if (old) {
    old.clients.shown = null; // of a long pause the figures are kept, of its clients the last ones
    if (paused.length > 5 * KEPT) paused.shift();
  }
}

function show() {
  const { document } = store;
  if (!document || hidden()) return;
  const counts = countStates(document.clients);
  showAll(store, counts);
  table.show(document.clients);
  lanes.layout(colours);
  charts.draw(colours);
  byId("crowd").hidden = document.clients.left_out === 0;
  if (document.clients.left_out) drawCrowd(byId("crowd"), counts, document.clients.total, colours);
  showActions(document.phase);
  showLink();
  const now = performance.now();
  if (now - described > DESCRIBE) {
    described = now;
    lanes.describe(counts);
    charts.describe();
  }
  lanes.draw(shownTime());
  const speed = document.interval ? `${rate(document.interval.messages_per_second)}/s` : "";
  const blocked = counts.blocked ? `${counts.blocked} blocked` : "";
  setTitle([speed, blocked, "threadwire"].filter(Boolean).join(" · "));
}

// The time that is shown, as performance.now() counts it.
function shownTime() {
  return paused === null ? performance.now() : pausedAt;
}

function setTitle(text) {
  if (document.title !== text) document.title = text;
}

function hidden() {
  return document.visibilityState === "hidden";
}

function isStale(now) {
  return store.age(now) > STALE * store.period;
}

function drawFrame(now) {
  requestAnimationFrame(drawFrame);
  if (paused !== null || !lanesInView || lanes.steady.matches || now - lastFrame < FRAME) return;
  if (isStale(now)) return; // nothing moves
  lastFrame = now;
  lanes.draw(now);
}

// The state of the connection, and of the server if that is out of the ordinary.
function showLink() {
  const badge = byId("link-state");
  const now = performance.now();
  const stale = isStale(now);
  const lost = link.link !== "live" || stale;
  const shown = paused !== null ? "paused" : lost ? link.link : "live";
  badge.dataset.link = shown === "live" || shown === "paused" ? shown : "lost";
  const words = { live: "live", paused: "paused", lost: "no connection", connecting: "connecting", token: "token wanted", resting: "resting" };
  setText(badge, words[shown] ?? "late");
  document.body.classList.toggle("stale", store.document !== null && stale && paused === null);
  showBanner(store.age(now), stale);
}

const PHASES = {
  suspended: "The server is suspended: it accepts no new clients, and serves those that it has.",
  draining: "The server is draining: it accepts no new clients, and ends those that it has.",
};

function showBanner(age, stale) {
  const { phase } = store.document ?? {};
  const old = Number.isFinite(age) ? `The figures are ${brief(age)} old.` : "";
  let text = PHASES[phase] ?? "";
  let more = ""; // what changes all the time, and is not read out
  let action = null;
  if (link.link === "lost") {
    const next = Math.max(0, Math.ceil((link.nextAt - performance.now()) / 1000));
    text = `No connection to the server: ${link.why}.`;
    more = `${old} ${link.nextAt === null ? "Trying." : `Next attempt in ${next} s.`}`;
    action = ["Try now", () => stream.start()];
  } else if (link.link === "token") {
    text = "The server asks for a token.";
    action = ["Enter it", () => token.open(false)];
  } else if (paused !== null) {
    text = "Paused: the picture stands still, the server goes on.";
    action = ["Go on", togglePause];
  } else if (stale && Number.isFinite(age)) {
    text = "Nothing new from the server.";
    more = old;
  }
  const banner = byId("banner");
  banner.hidden = !text;
  banner.dataset.kind = link.link === "lost" || link.link === "token" || (stale && paused === null) ? "bad" : "note";
  setText(byId("banner-text"), text);
  setText(byId("banner-more"), more);
  const button = byId("banner-action");
  button.hidden = action === null;
  if (action) {
    setText(button, action[0]);
    button.onclick = action[1];
  }
}

function showActions(phase) {
  const suspend = byId("suspend");
  suspend.disabled = !["serving", "suspended", "draining"].includes(phase);
  setText(suspend, phase === "serving" ? "Suspend" : "Resume");
  byId("drain").disabled = !["serving", "suspended"].includes(phase);
}

function togglePause() {
  if (paused === null) {
    paused = [];
    pausedAt = performance.now();
  } else {
    const waiting = paused;
    paused = null;
    for (const [document, receivedAt] of waiting) store.apply(document, receivedAt);
    show();
  }
  byId("pause").setAttribute("aria-pressed", String(paused !== null));
  setText(byId("pause"), paused === null ? "Pause" : "Go on");
  showLink();
}

function suspendOrResume() {
  if (byId("suspend").disabled) return;
  if (store.document.phase === "serving") {
    act({
      title: "Suspend the server?",
      text: "It accepts no new clients until it is resumed. Those that are here are served as before.",
      yes: "Suspend",
      path: "suspend",
      done: "The server is being suspended.",
    });
  } else {
    act({
      title: "Resume the server?",
      text: "It accepts new clients again.",
      yes: "Resume",
      path: "resume",
      done: "The server is being resumed.",
    });
  }
}

function drain() {
  if (byId("drain").disabled) return;
  const clients = plural(store.document.clients.total, "client");
  act({
    title: "Drain the server?",
    text: `It accepts no new clients, and each of its ${clients} is closed when what has begun is finished. It can be resumed.`,
    yes: "Drain",
    path: "drain",
    done: "The drain has begun.",
  });
}

function nextTheme() {
  setText(byId("theme-name"), window.threadwireTheme.next());
  repaint();
}

function repaint() {
  colours = readColours();
  if (!store.document) return;
  lanes.layout(colours);
  lanes.draw(shownTime());
  charts.draw(colours);
  show();
}

const keys = {
  p: { words: "pause and go on", run: togglePause },
  s: { words: "suspend or resume the server, after a question", run: suspendOrResume },
  d: { words: "drain the server, after a question", run: drain },
  t: { words: "the next theme: system, light, dark", run: nextTheme },
  "/": { words: "filter the clients", run: () => byId("filter").focus() },
  l: { words: "to the lanes; the arrow keys scroll them", run: () => byId("lanes").focus() },
  c: { words: "to the charts; the arrow keys read them off", run: () => byId("charts").focus() },
  "?": { words: "this help", run: () => help.open() },
};
const help = new HelpDialog(keys);

byId("pause").addEventListener("click", togglePause);
byId("suspend").addEventListener("click", suspendOrResume);
byId("drain").addEventListener("click", drain);
byId("theme").addEventListener("click", nextTheme);
byId("help").addEventListener("click", () => help.open());
setText(byId("theme-name"), window.threadwireTheme.choice);
listen(keys);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
new ResizeObserver(([{ contentRect }]) => {
  if (contentRect.width === width) return; // how high it is does not matter
  width = contentRect.width;
  repaint();
}).observe(byId("main"));
new IntersectionObserver((entries) => {
  lanesInView = entries.at(-1).isIntersecting;
}).observe(byId("lanes"));
byId("lanes").addEventListener("scroll", () => lanes.draw(shownTime()), { passive: true });
byId("lanes").addEventListener("pointermove", () => paused !== null && lanes.draw(shownTime()));
window.addEventListener("online", () => link.link === "lost" && stream.start());
document.addEventListener("visibilitychange", () => {
  clearTimeout(restTimer);
  if (hidden()) {
    restTimer = setTimeout(() => stream.rest(), REST);
  } else if (link.link === "resting") {
    stream.start();
  } else {
    show();
  }
});
setInterval(() => !hidden() && showLink(), 500);

stream.start();
requestAnimationFrame(drawFrame);
