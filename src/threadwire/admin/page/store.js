// What the page knows: the newest document, five minutes of figures, and the lanes.
//
// Everything here is bounded, however long the page stays open: the series by SERIES, a lane's
// samples by LANE_SECONDS, the lanes by MOST_LANES, the marks by MOST_MARKS.

import { RANK, shownState } from "./states.js";

export const SERIES = 300; // points, one a second
export const LANE_SECONDS = 75; // what a lane remembers: more than the widest picture shows
const MOST_LANES = 240; // the 200 of a document, and some that have just left
const MOST_MARKS = 512;
const FAREWELL = 6; // seconds that a lane stays after its client has left
const UNSEEN = 10; // seconds that a lane stays if a document has only left its client out
export const BLIP = 1; // seconds for which a client must have blocked to be worth moving
const SINKING = 5; // seconds for which a client must be calmer before its lane moves down

// One client's lane: `samples` are [time, state, rate, busy or null], oldest first.
class Lane {
  constructor(client, time) {
    this.id = client.id;
    this.client = client;
    this.bornAt = time - client.age;
    this.samples = [];
    this.seenAt = time;
    this.goneAt = null;
    this.rank = rankOf(client);
    this.calmSince = null;
    this.y = null; // where it is drawn, moving towards its place
  }

  add(client, time) {
    const state = shownState(client);
    this.client = client;
    this.seenAt = time;
    this.goneAt = null;
    this.samples.push([time, state, client.rate, client.busy]);
    while (this.samples[0][0] < time - LANE_SECONDS) this.samples.shift();
    // A lane rises at once when its client wants attention, and sinks only after a while.
    const rank = rankOf(client);
    if (rank < this.rank) {
      this.rank = rank;
      this.calmSince = null;
    } else if (rank === this.rank) {
      this.calmSince = null;
    } else {
      this.calmSince ??= time;
      if (time - this.calmSince >= SINKING) {
        this.rank = rank;
        this.calmSince = null;
      }
    }
  }
}

// Lanes move only for what matters: not for a client that blocks for moments again and again,
// nor for one that says something now and then.
function rankOf(client) {
  if (client.state === "blocked" && (client.busy ?? 0) < BLIP) return RANK["own-thread"];
  return Math.min(RANK[client.state] ?? RANK.loop, RANK.loop);
}

export class Store {
  constructor() {
    this.document = null;
    this.receivedAt = 0; // milliseconds, of performance.now()
    this.series = []; // {time, ...interval, connections, own_threads}, oldest first
    this.lanes = new Map(); // id -> Lane
    this.order = []; // the lanes from top to bottom
    this.marks = []; // hand-offs: {at, connection}, oldest first
    this.endings = []; // {time, closed}, a minute of them, oldest first
    this.offset = null; // the server's clock less performance.now(), in seconds
    this.since = null; // the time of the first document of what there is here
    this.period = 1; // seconds from one document to the next; more if there are very many clients
  }

  // Take a document in. `receivedAt` is performance.now() at its arrival.
  apply(document, receivedAt) {
    const time = document.time;
    if (this.document && !continues(this.document, document)) this.#forget();
    this.document = document;
    this.since ??= time;
    this.receivedAt = receivedAt;
    this.period = Math.min(10, Math.max(1, document.interval?.seconds ?? 1));
    this.#keepTime(time - receivedAt / 1000);
    this.#extendSeries(document);
    this.#addMarks(document.handoffs);
    this.endings.push({ time, closed: document.totals.closed });
    while (this.endings[0].time < time - 60) this.endings.shift();
    if (document.clients.shown) this.#moveLanes(document.clients, time);
  }

  // The time that the picture's right edge shows, in the server's seconds: a little more than
  // one interval ago, so that what happened until then is known and the picture moves evenly.
  edge(now) {
    if (this.offset === null) return 0;
    return Math.min(now / 1000 + this.offset - 1.1 * this.period - 0.05, this.document.time);
  }

  // Seconds since the newest document came.
  age(now) {
    return this.document ? Math.max(0, (now - this.receivedAt) / 1000) : Infinity;
  }

  // How often connections were closed for `reason` within the last minute.
  closedLately(reason) {
    const newest = this.endings.at(-1)?.closed[reason] ?? 0;
    return newest - (this.endings[0]?.closed[reason] ?? 0);
  }

  #forget() {
    this.series = [];
    this.lanes.clear();
    this.order = [];
    this.marks = [];
    this.endings = [];
    this.offset = null;
    this.since = null;
  }

  // Documents do not arrive quite evenly; a clock that follows them slowly does.
  #keepTime(offset) {
    if (this.offset === null || Math.abs(offset - this.offset) > 0.5) this.offset = offset;
    else this.offset += 0.1 * (offset - this.offset);
  }

  #extendSeries(document) {
    if (document.history?.length) {
      const older = this.series.filter(({ time }) => time < document.history[0].time);
      this.series = [...older, ...document.history].slice(-SERIES);
    }
    if (!document.interval || (this.series.at(-1)?.time ?? 0) >= document.time) return;
    const { connections, own_threads } = document.now;
    this.series.push({ time: document.time, ...document.interval, connections, own_threads });
    if (this.series.length > SERIES) this.series.shift();
  }

  #addMarks(handoffs) {
    const last = this.marks.at(-1)?.at ?? 0;
    for (const mark of handoffs) if (mark.at > last) this.marks.push(mark);
    this.marks.splice(0, this.marks.length - MOST_MARKS);
  }

  #moveLanes(clients, time) {
    for (const client of clients.shown) {
      let lane = this.lanes.get(client.id);
      if (!lane) this.lanes.set(client.id, (lane = new Lane(client, time)));
      lane.add(client, time);
    }
    for (const [id, lane] of this.lanes) {
      if (lane.seenAt === time) continue;
      if (clients.left_out === 0) lane.goneAt ??= time;
      const stays = lane.goneAt === null ? UNSEEN : FAREWELL;
      if (time - lane.seenAt > stays) this.lanes.delete(id);
    }
    this.order = [...this.lanes.values()].sort(before);
    for (const lane of this.order.splice(MOST_LANES)) this.lanes.delete(lane.id);
  }
}

// Not if it is another process, which may have the same number in its container, nor if the
// clock was set back.
function continues(before, document) {
  const [old, process] = [before.process, document.process];
  return old.pid === process.pid && Math.abs(old.started_at - process.started_at) < 1 && document.time >= before.time;
}

// Those that block come first, the longest on top; others by what they do, and then in the
// order in which they came, so that a lane stays where it is.
function before(a, b) {
  if (a.rank !== b.rank) return a.rank - b.rank;
  if (a.rank === RANK.blocked) {
    const longer = (b.client.busy ?? -1) - (a.client.busy ?? -1);
    if (Math.abs(longer) > 0.5) return longer;
  }
  return a.id - b.id;
}
