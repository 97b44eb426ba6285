// The table of clients: the lanes in words and numbers, sortable by every column.

import { getJson } from "./api.js";
import { byId, make, setAttribute, setText } from "./dom.js";
import { LABEL, RANK, shownState } from "./states.js";
import { bytes, count, peer, plural, rate, seconds } from "./units.js";

const FEW = 25; // rows, until more are asked for
const REFETCH = 2500; // ms between two questions for an order that the documents do not have

// "sort" is what the server calls the order in which a column begins, where it has it; it sorts
// all of its clients.
const COLUMNS = [
  { key: "id", title: "Client", value: (client) => client.id, rises: true, sort: "id" },
  { key: "peer", title: "Peer", value: (client) => client.peer, rises: true, wide: true },
  { key: "state", title: "State", value: (client) => -RANK[shownState(client)] },
  { key: "busy", title: "Busy for", value: (client) => client.busy ?? -1, sort: "busy", number: true },
  { key: "line", title: "At line", value: (client) => client.line ?? "", rises: true },
  { key: "rate", title: "Messages/s", value: (client) => client.rate, sort: "rate", number: true },
  { key: "messages", title: "Messages", value: (client) => client.messages_received, number: true, wide: true },
  { key: "bytes", title: "Bytes", value: (client) => client.bytes_received + client.bytes_sent, sort: "bytes", number: true, wide: true },
  { key: "idle", title: "Idle for", value: (client) => client.idle, sort: "idle", number: true, wide: true },
  { key: "age", title: "Age", value: (client) => client.age, sort: "age", number: true, wide: true },
];

function text(client, key) {
  switch (key) {
    case "id": return `#${client.id}`;
    case "peer": return peer(client.peer);
    case "state": return LABEL[shownState(client)];
    case "busy": return client.busy === null ? "" : seconds(client.busy);
    case "line": return client.line ?? "";
    case "rate": return rate(client.rate);
    case "messages": return count(client.messages_received);
    case "bytes": return bytes(client.bytes_received + client.bytes_sent);
    case "idle": return seconds(Math.max(0, client.idle));
    default: return seconds(client.age);
  }
}

export class ClientsTable {
  #rows = new Map(); // id -> <tr>
  #fetched = null; // {sort, clients} in an order of the server's
  #askedAt = 0;
  #all = false;

  constructor(onPick) {
    this.onPick = onPick;
    this.column = COLUMNS[2];
    this.rising = false;
    this.clients = null; // the "clients" of the newest document
    this.body = byId("clients-body");
    this.filter = byId("filter");
    const heads = COLUMNS.map((column) => {
      const button = make("button", { type: "button", onclick: () => this.#sortBy(column) }, column.title);
      return make("th", { scope: "col", role: "columnheader", className: looks(column), data: { column: column.key } }, button);
    });
    byId("clients-head").append(...heads);
    this.filter.addEventListener("input", () => this.show(this.clients));
    byId("clients-more").addEventListener("click", () => {
      this.#all = !this.#all;
      this.show(this.clients);
    });
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row && getSelection().isCollapsed) this.onPick(row.client);
    });
    this.#markHeads();
  }

  #sortBy(column) {
    this.rising = column === this.column ? !this.rising : Boolean(column.rises);
    this.column = column;
    this.#fetched = null;
    this.#askedAt = 0;
    this.#markHeads();
    this.show(this.clients);
  }

  #markHeads() {
    const order = this.rising ? "ascending" : "descending";
    for (const head of byId("clients-head").children) {
      setAttribute(head, "aria-sort", head.dataset.column === this.column.key ? order : "none");
    }
  }

  // Show the "clients" of a document.
  show(clients) {
    if (!clients) return;
    this.clients = clients;
    this.#fetch();
    const found = this.#found(this.#sorted());
    const shown = found.slice(0, this.#all ? found.length : FEW);
    this.#showRows(shown);
    this.#showNotes(found.length, shown.length);
  }

  // If the document leaves clients out, the ones that matter in this order are asked for.
  async #fetch() {
    const { sort } = this.column;
    if (!this.#isServersOrder() || performance.now() - this.#askedAt < REFETCH) return;
    this.#askedAt = performance.now();
    try {
      const answer = await getJson(`clients?sort=${sort}&limit=200`);
      if (sort === this.column.sort && answer) this.#fetched = { sort, clients: answer.clients };
    } catch {
      this.#fetched = null; // what the document shows has to do; the stream tells what is wrong
    }
  }

  #isServersOrder() {
    const { sort, rises = false } = this.column;
    return this.clients.left_out > 0 && sort !== undefined && this.rising === rises;
  }

  #sorted() {
    const { value, sort } = this.column;
    const fetched = this.#isServersOrder() && this.#fetched?.sort === sort;
    const clients = fetched ? this.#fetched.clients : this.clients.shown;
    const direction = this.rising ? 1 : -1;
    return [...clients].sort((a, b) => {
      const [left, right] = [value(a), value(b)];
      if (left !== right) return left < right ? -direction : direction;
      return (b.busy ?? -1) - (a.busy ?? -1) || b.rate - a.rate || a.id - b.id;
    });
  }

  #found(clients) {
    const wanted = this.filter.value.trim().toLowerCase();
    if (!wanted) return clients;
    const said = (client) => ["id", "peer", "state", "line"].map((key) => text(client, key)).join(" ");
    return clients.filter((client) => said(client).toLowerCase().includes(wanted));
  }

  #showRows(clients) {
    const wanted = new Set(clients.map((client) => client.id));
    for (const [id, row] of this.#rows) {
      if (wanted.has(id)) continue;
      row.remove();
      this.#rows.delete(id);
    }
    clients.forEach((client, place) => {
      let row = this.#rows.get(client.id);
      if (!row) this.#rows.set(client.id, (row = makeRow(client)));
      // Moving the row that has the focus would take it away: the others move around it.
      const there = this.body.children[place];
      if (there !== row && !(row.contains(document.activeElement) && row.isConnected)) {
        this.body.insertBefore(row, there ?? null);
      }
      fillRow(row, client);
    });
  }

  #showNotes(found, shown) {
    const { total, left_out } = this.clients;
    const looked = total - left_out;
    byId("clients-empty").hidden = found > 0;
    setText(byId("clients-empty"), looked ? "No client that is shown fits the filter." : "No clients.");
    const more = byId("clients-more");
    more.hidden = found <= FEW;
    setText(more, this.#all ? `Show ${FEW} only` : `Show all ${count(found)}`);
    let note = plural(total, "client");
    if (left_out) note = `${count(looked)} of ${count(total)} are looked at here`;
    if (found !== looked || shown !== found) note += `, ${count(shown)} shown`;
    setText(byId("clients-note"), note);
  }
}

function looks(column) {
  return `${column.number ? "number" : ""} ${column.wide ? "wide" : ""} column-${column.key}`.trim();
}

function makeRow(client) {
  const cells = COLUMNS.map((column) => make("td", { className: looks(column), role: "cell" }));
  cells[0].append(make("button", { type: "button", className: "plain", attributes: { "aria-label": `Details of client ${client.id}` } }, `#${client.id}`));
  cells[2].append(make("span", { className: "swatch" }), make("span"));
  return make("tr", { role: "row" }, ...cells);
}

function fillRow(row, client) {
  row.client = client.id;
  const state = shownState(client);
  if (row.dataset.state !== state) {
    row.dataset.state = state;
    row.children[2].firstElementChild.dataset.state = state;
  }
  COLUMNS.forEach(({ key }, place) => {
    const cell = row.children[place];
    if (key === "state") setText(cell.lastElementChild, text(client, key));
    else if (key !== "id") setText(cell, text(client, key));
  });
}
