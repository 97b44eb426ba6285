// The stream of documents: read with fetch, since an EventSource can send no token, and taken
// up again by itself when it ends.

const MOST_CHARACTERS = 16 * 1024 * 1024; // of one event: far more than any document has
const SILENCE = 12_000; // ms without a byte after which a stream counts as dead
const FIRST_WAIT = 500; // ms until the first new attempt; each further one waits twice as long
const LONGEST_WAIT = 10_000; // ms

// Server-sent events out of text that comes in pieces: the fields "event" and "data" of the
// format that the HTML standard describes, and comments, which are skipped.
export class EventParser {
  #rest = ""; // the line that has begun
  #carriage = false; // the text so far ended in a carriage return, which a newline may follow
  #event = "";
  #data = [];
  #size = 0;

  // The events that `text` completes, as {event, data}.
  push(text) {
    const events = [];
    if (this.#carriage && text.startsWith("\n")) text = text.slice(1);
    if (text) this.#carriage = text.endsWith("\r");
    const lines = text.split(/\r\n|\r|\n/);
    this.#size += text.length;
    if (this.#size > MOST_CHARACTERS) throw new Error("an event of the stream is too large");
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line !== "") {
        this.#take(line);
        continue;
      }
      if (this.#data.length) events.push({ event: this.#event || "message", data: this.#data.join("\n") });
      this.#event = "";
      this.#data = [];
      this.#size = this.#rest.length;
    }
    return events;
  }

  #take(line) {
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "event") this.#event = value;
    else if (field === "data") this.#data.push(value);
  }
}

// `get(path, signal)` makes the request and resolves to a Response, or throws;
// `onDocument(document)` is called for each; `onState(state)` with {link: "connecting"} or
// {link: "live"}, {link: "lost", why, nextAt}, {link: "token"} or {link: "resting"}.
export class Stream {
  #get;
  #onDocument;
  #onState;
  #abort = null;
  #timer = null; // of the next attempt
  #silence = null; // of the watch over the running one
  #attempts = 0;

  constructor(get, onDocument, onState) {
    this.#get = get;
    this.#onDocument = onDocument;
    this.#onState = onState;
  }

  // Connect now, whatever was under way.
  start() {
    this.#end();
    this.#abort = new AbortController();
    this.#run(this.#abort);
  }

  // Connect no more until start().
  rest() {
    this.#end();
    this.#onState({ link: "resting" });
  }

  #end() {
    clearTimeout(this.#timer);
    clearTimeout(this.#silence);
    this.#abort?.abort();
    this.#abort = null;
  }

  async #run(abort) {
    let why;
    try {
      why = await this.#read(abort);
    } catch (error) {
      why = error instanceof TypeError ? "the server does not answer" : error.message;
    }
    if (this.#abort !== abort) return; // somebody else has taken over
    this.#end();
    if (why === null) {
      this.#onState({ link: "token" });
      return;
    }
    const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#attempts) * (0.8 + 0.4 * Math.random());
    this.#attempts += 1;
    this.#timer = setTimeout(() => this.start(), wait);
    this.#onState({ link: "lost", why, nextAt: performance.now() + wait });
  }

  // Why it ended; null if a token is wanted.
  async #read(abort) {
    let why = "the server has ended the stream";
    const watch = () => {
      clearTimeout(this.#silence);
      this.#silence = setTimeout(() => {
        why = "the server is silent";
        abort.abort(new Error(why));
      }, SILENCE);
    };
    this.#onState({ link: "connecting" });
    watch();
    const response = await this.#get("events", abort.signal);
    if (response.status === 401) return null;
    if (!response.ok) return problem(response);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new EventParser();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return why;
      watch();
      for (const { event, data } of parser.push(value)) {
        if (event !== "snapshot") continue;
        const document = JSON.parse(data);
        if (document.schema !== 1) return "the server speaks another version: load this page again";
        this.#attempts = 0;
        this.#onState({ link: "live" });
        this.#onDocument(document);
      }
    }
  }
}

// What an answer that is no success says.
export async function problem(response) {
  try {
    const { error } = await response.json();
    if (typeof error === "string") return error;
  } catch {
    // It is no JSON, so the status has to do.
  }
  return `the server answered ${response.status} ${response.statusText}`;
}
