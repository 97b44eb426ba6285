// The dialogs: asking before something is done, a client in detail, the token, the help.

import { getJson, post, setToken } from "./api.js";
import { byId, make, setText, showPairs } from "./dom.js";
import { LABEL, STATES, shownState } from "./states.js";
import { bytes, count, rate, seconds } from "./units.js";

const LOOK_AGAIN = 1000; // ms between two looks at the client whose details are open

// Tell what has been done or has failed, for a few seconds.
export function tell(text, failed = false) {
  const toast = make("p", { className: failed ? "toast failed" : "toast" }, text);
  const toasts = byId("toasts");
  toasts.append(toast);
  if (toasts.matches(":popover-open")) toasts.hidePopover();
  toasts.showPopover(); // on top of whatever dialog is open
  setTimeout(() => {
    toast.remove();
    if (!toasts.children.length) toasts.hidePopover();
  }, failed ? 12_000 : 5000);
}

// Whether the question was answered with yes.
export function ask(title, text, yes) {
  const dialog = byId("confirm");
  setText(byId("confirm-title"), title);
  setText(byId("confirm-text"), text);
  setText(byId("confirm-yes"), yes);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// Ask, do, and tell.
export async function act({ title, text, yes, path, done }) {
  if (!(await ask(title, text, yes))) return false;
  try {
    await post(path);
    tell(done);
    return true;
  } catch (error) {
    tell(`That did not work: ${error.message}`, true);
    return false;
  }
}

export class DetailDialog {
  #id = null;
  #timer = null;

  constructor() {
    this.dialog = byId("detail");
    byId("detail-dismiss").addEventListener("click", () => this.dialog.close());
    byId("detail-close").addEventListener("click", () => this.#closeClient());
    this.dialog.addEventListener("close", () => {
      clearTimeout(this.#timer);
      this.#id = null;
    });
  }

  open(id) {
    this.#id = id;
    setText(byId("detail-title"), `Client #${id}`);
    showPairs(byId("detail-facts"), []);
    setText(byId("detail-stack"), "");
    this.#problem("");
    this.dialog.showModal();
    this.#look(id);
  }

  #problem(text) {
    setText(byId("detail-problem"), text);
    byId("detail-problem").hidden = !text;
    byId("detail-close").disabled = Boolean(text);
  }

  // Look at the client again and again while its details are open.
  async #look(id) {
    let left = false;
    try {
      const client = await getJson(`clients/${id}`);
      if (this.#id !== id) return;
      left = client === null;
      this.#problem(left ? "This client has left." : "");
      if (client) this.#show(client);
    } catch (error) {
      if (this.#id !== id) return;
      this.#problem(error.message);
    }
    clearTimeout(this.#timer);
    if (!left) this.#timer = setTimeout(() => this.#look(id), LOOK_AGAIN);
  }

  #show(client) {
    const pairs = [
      ["peer", client.peer],
      ["state", LABEL[shownState(client)] ?? client.state],
      ["connected for", seconds(client.age)],
      ["last message", `${seconds(Math.max(0, client.idle))} ago`],
      ["messages", `${count(client.messages_received)} in, ${count(client.messages_sent)} out`],
      ["bytes", `${bytes(client.bytes_received)} in, ${bytes(client.bytes_sent)} out`],
    ];
    if (typeof client.rate === "number") pairs.push(["messages a second", rate(client.rate)]);
    if (client.tls) pairs.push(["TLS", client.tls]);
    if (client.busy !== null) pairs.push(["in its handler for", seconds(client.busy)]);
    if (client.line) pairs.push(["at", client.line]);
    showPairs(byId("detail-facts"), pairs);
    const stack = client.stack ?? [];
    const frame = byId("detail-stack");
    const first = !frame.textContent;
    setText(frame, stack.length ? stack.join("\n") : "No handler runs for it just now.");
    if (first) frame.scrollTop = frame.scrollHeight; // the innermost call is the last
  }

  async #closeClient() {
    const id = this.#id;
    const closed = await act({
      title: `Close client #${id}?`,
      text: "It still has the answer to what its handler is doing; then its connection is closed.",
      yes: "Close it",
      path: `clients/${id}/close`,
      done: `Client #${id} is being closed.`,
    });
    if (closed && this.#id === id) this.dialog.close();
  }
}

export class TokenDialog {
  constructor(onToken) {
    this.dialog = byId("token");
    byId("token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const input = byId("token-input");
      setToken(input.value.trim());
      input.value = "";
      this.dialog.close();
      onToken();
    });
    byId("token-cancel").addEventListener("click", () => this.dialog.close());
  }

  // `wrong`: there was a token, and it was not accepted.
  open(wrong) {
    const problem = byId("token-problem");
    problem.hidden = !wrong;
    setText(problem, wrong ? "That token was not accepted." : "");
    if (!this.dialog.open) this.dialog.showModal();
  }
}

export class HelpDialog {
  constructor(keys) {
    this.dialog = byId("help-dialog");
    byId("help-dismiss").addEventListener("click", () => this.dialog.close());
    for (const { name, label, meaning } of STATES) {
      byId("help-states").append(make("li", {}, make("span", { className: "swatch", data: { state: name } }), make("b", {}, label), `: ${meaning}`));
    }
    for (const [key, { words }] of Object.entries(keys)) {
      byId("help-keys").append(make("div", {}, make("dt", {}, make("kbd", {}, key)), make("dd", {}, words)));
    }
  }

  open() {
    this.dialog.showModal();
  }
}
