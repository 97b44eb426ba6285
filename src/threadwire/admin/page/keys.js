// Single keys that do something; they can be turned off, since some people's tools type them.

import { byId, typing } from "./dom.js";

const KEY = "threadwire-keys";

function stored() {
  try {
    return localStorage.getItem(KEY) !== "off";
  } catch {
    return true;
  }
}

// `keys` is {key: {words, run}}.
export function listen(keys) {
  const box = byId("keys-on");
  box.checked = stored();
  box.addEventListener("change", () => {
    try {
      localStorage.setItem(KEY, box.checked ? "on" : "off");
    } catch {
      // It holds until the page is left.
    }
  });
  document.addEventListener("keydown", (event) => {
    const pressed = keys[event.key];
    if (!pressed || !box.checked || event.ctrlKey || event.metaKey || event.altKey || typing(event)) return;
    if (document.querySelector("dialog[open]")) return;
    event.preventDefault();
    pressed.run();
  });
}
