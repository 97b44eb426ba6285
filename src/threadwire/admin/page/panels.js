// The parts that say in words and numbers how the server is: verdict, tiles, states, limits,
// totals, endings, process.

import { byId, make, setAttribute, setText, showPairs } from "./dom.js";
import { STATES } from "./states.js";
import { brief, bytes, count, day, percent, peer, plural, rate, seconds } from "./units.js";

const NEAR = 0.75; // of a limit: worth a look
const CLOSE = 0.9; // of a limit: worth a word

export function showAll(store, counts) {
  const { document } = store;
  showService(document);
  showVerdict(store, counts);
  showTiles(document, counts);
  showStates(document, counts);
  showLimits(document.limits);
  showTotals(document);
  showEndings("closed", document.totals.closed);
  showEndings("refused", document.totals.refused);
  showProcess(document);
}

function showService({ service, process }) {
  const handler = `${service.session ? "session handler" : "handler"} ${service.handler}`;
  setText(byId("service"), `${service.addresses.map(peer).join(", ")} · ${handler} · framing ${service.framing} · up ${brief(process.uptime)}`);
}

// What is worth a word: [level, sentence]; the worst level counts.
function findings(store, counts) {
  const { document } = store;
  const { phase, interval, now, limits, clients } = document;
  const found = [];
  if (phase === "draining") found.push(["warn", "Draining."]);
  else if (phase === "suspended") found.push(["warn", "Suspended."]);
  else if (phase !== "serving") found.push(["bad", `The server is ${phase}.`]);
  else if (!document.ready) found.push(["warn", `Not ready: ${document.why}.`]);
  if (now.waiting > 0) found.push(["warn", `${plural(now.waiting, "client waits", "clients wait")} for a thread.`]);
  for (const { name, used, limit } of limits) {
    if (limit && used / limit >= CLOSE) found.push(["warn", `${name} is at ${percent(used / limit)}.`]);
  }
  if (interval?.refused_per_second > 0) found.push(["warn", `${rate(interval.refused_per_second)} clients a second are refused.`]);
  const failed = store.closedLately("handler-failed");
  if (failed > 0) found.push(["warn", `${plural(failed, "handler")} failed in the last minute.`]);
  if (interval?.turn?.p99 > 0.1) found.push(["warn", `The loop is slow: some of its turns take ${seconds(interval.turn.p99)}.`]);
  if (!found.length) found.push(["well", "All is well."]);
  const number = interval ? rate(interval.messages_per_second) : "";
  const speed = interval ? `, ${number} ${number === "1" ? "message" : "messages"} a second` : "";
  found.push(["well", `${plural(clients.total, "client")}${speed}.`]);
  found.push(["well", blocking(clients, counts.blocked, now.waiting)]);
  return found;
}

function blocking({ shown }, blocked, waiting) {
  if (!blocked) return "Nobody blocks.";
  const worst = shown[0];
  let text = plural(blocked, "client blocks", "clients block");
  if (worst?.busy) text += `, ${blocked === 1 ? "for" : "one for"} ${seconds(worst.busy)} at ${worst.line || "an unknown line"}`;
  return waiting ? `${text}.` : `${text}; nobody waits for ${blocked === 1 ? "it" : "them"}.`;
}

function showVerdict(store, counts) {
  const found = findings(store, counts);
  const level = ["bad", "warn", "well"].find((name) => found.some(([worst]) => worst === name));
  byId("verdict").dataset.level = level;
  setText(byId("verdict-mark"), { bad: "✕", warn: "!", well: "✓" }[level]);
  setText(byId("verdict-text"), found.map(([, sentence]) => sentence).join(" "));
}

function showTiles(document, counts) {
  const { interval, now, totals, clients } = document;
  const handler = interval?.handler;
  const longest = clients.shown.find((client) => client.state === "blocked")?.busy ?? null;
  const tiles = [
    ["Messages", interval ? rate(interval.messages_per_second) : "–", "a second",
      interval ? `${bytes(interval.bytes_received_per_second)}/s in, ${bytes(interval.bytes_sent_per_second)}/s out` : ""],
    ["Time in the handler", seconds(handler?.p99), "p99", `p50 ${seconds(handler?.p50)}, max ${seconds(handler?.max)}`],
    ["Clients", count(clients.total), "open",
      interval ? `${rate(interval.accepted_per_second)} come and ${rate(interval.closed_per_second)} go a second` : ""],
    ["Blocked", count(counts.blocked), "now", longest === null ? "nobody waits" : `the longest for ${seconds(longest)}`, counts.blocked ? "blocked" : ""],
    ["Hand-offs", interval ? rate(interval.handoffs_per_second) : "–", "a second", `${count(totals.handoffs)} since the start`],
    ["Own threads", count(now.own_threads), "in use", `${count(now.spare_threads)} spare, ${plural(now.loops, "loop")}`],
  ];
  const list = byId("tiles");
  tiles.forEach(([name, value, unit, more, look = ""], place) => {
    let tile = list.children[place];
    if (!tile) {
      tile = make("div", {}, make("dt", {}, name), make("dd", { className: "value" }, make("b"), " ", make("span")), make("dd", { className: "more" }));
      list.append(tile);
    }
    tile.dataset.look = look;
    setText(tile.querySelector("b"), value);
    setText(tile.querySelector("span"), unit);
    setText(tile.lastElementChild, more);
  });
}

function showStates({ clients }, counts) {
  const bar = byId("states-bar");
  const legend = byId("legend");
  STATES.forEach(({ name, label, meaning }, place) => {
    if (!legend.children[place]) {
      bar.append(make("span", { data: { state: name } }));
      legend.append(make("li", { title: meaning }, make("span", { className: "swatch", data: { state: name } }), make("b"), ` ${label}`));
    }
    bar.children[place].style.flexGrow = counts[name];
    bar.children[place].hidden = !counts[name];
    legend.children[place].dataset.none = String(!counts[name]);
    setText(legend.children[place].querySelector("b"), count(counts[name]));
  });
  const { total, left_out } = clients;
  setText(byId("lanes-note"), left_out
    ? `Lanes for ${count(total - left_out)} of ${count(total)}: those that block the longest, then the busiest. The rest as dots.`
    : "Time runs to the left. The thicker a lane, the more messages.");
}

// Numbers of bytes are told from others by the limit's name.
function amount(name, value) {
  return /bytes|memory|message$/.test(name) ? bytes(value) : count(value);
}

function showLimits(limits) {
  const list = byId("limits");
  const rows = (list.rowsByName ??= new Map());
  for (const { name, used, limit } of limits) {
    let row = rows.get(name);
    if (!row) {
      const meter = make("div", { className: "meter", attributes: { role: "meter", "aria-valuemin": "0", "aria-label": name } }, make("span"));
      row = make("div", { className: "limit" }, make("code", {}, name), make("span", { className: "amount" }), meter);
      rows.set(name, row);
      list.append(row);
    }
    const share = limit ? Math.min(1, used / limit) : 0;
    const look = share >= CLOSE ? "close" : share >= NEAR ? "near" : "far";
    const words = limit ? `${amount(name, used)} of ${amount(name, limit)}` : `${amount(name, used)}, no limit`;
    row.dataset.look = look;
    setText(row.querySelector(".amount"), { close: `${words}, ${percent(share)}: close!`, near: `${words}, ${percent(share)}`, far: words }[look]);
    const meter = row.lastElementChild;
    meter.hidden = !limit;
    setAttribute(meter, "aria-valuemax", String(limit ?? used));
    setAttribute(meter, "aria-valuenow", String(used));
    setAttribute(meter, "aria-valuetext", words);
    meter.firstElementChild.style.width = `${share * 100}%`;
  }
}

function showTotals({ totals, now }) {
  showPairs(byId("totals"), [
    ["clients accepted", count(totals.accepted)],
    ["messages received", count(totals.messages_received)],
    ["messages sent", count(totals.messages_sent)],
    ["bytes received", bytes(totals.bytes_received)],
    ["bytes sent", bytes(totals.bytes_sent)],
    ["hand-offs", count(totals.handoffs)],
    ["now in a handshake", count(now.opening)],
    ["now waiting for a thread", count(now.waiting)],
  ]);
}

function showEndings(id, reasons) {
  const some = Object.entries(reasons).filter(([, number]) => number > 0).sort((a, b) => b[1] - a[1]);
  const most = some.length ? some[0][1] : 1;
  showPairs(byId(id), some.length ? some.map(([reason, number]) => [reason, count(number), number / most]) : [["none", "", 0]]);
}

function showProcess({ process, certificates, interval, time }) {
  const pairs = [
    ["process", String(process.pid)],
    ["since", day(process.started_at)],
    ["threadwire", process.version],
    ["Python", process.python],
    ["poller", process.poller === "c" ? "in C" : "in Python"],
    ["processor", `${process.cpu === null ? "–" : percent(process.cpu)}, ${seconds(process.cpu_seconds)} in all`],
    ["memory", bytes(process.resident_bytes)],
    ["threads", count(process.threads)],
    ["open files", count(process.open_files)],
    ["turn of the loop, p99", seconds(interval?.turn?.p99)],
    ["wait for the interpreter's lock, p99", seconds(interval?.lock_wait?.p99)],
  ];
  if (certificates) {
    const left = certificates.expires_at - time;
    pairs.push(["certificate for", certificates.names]);
    pairs.push(["certificate expires", left > 0 ? `in ${seconds(left)}, on ${day(certificates.expires_at)}` : `expired on ${day(certificates.expires_at)}`]);
  }
  showPairs(byId("process"), pairs);
}
