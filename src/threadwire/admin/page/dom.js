// The few things that every part does to the document. Text from the server is only ever set
// as text: nothing here, or elsewhere, makes markup of it.

export function byId(id) {
  return document.getElementById(id);
}

// make("td", {className: "number", title: "…"}, "text", otherNode)
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "data") Object.assign(element.dataset, value);
    else if (name === "attributes") for (const [key, text] of Object.entries(value)) element.setAttribute(key, text);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

// Writes only what has changed, so that nothing is laid out anew for the same text.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

// Rows of a <dl>, kept by key and changed in place: pairs are [key, text, optional share 0-1].
export function showPairs(list, pairs) {
  const rows = (list.rowsByKey ??= new Map());
  const wanted = new Set(pairs.map(([key]) => key));
  for (const [key, row] of rows) {
    if (wanted.has(key)) continue;
    row.remove();
    rows.delete(key);
  }
  pairs.forEach(([key, text, share], place) => {
    let row = rows.get(key);
    if (!row) {
      row = make("div", {}, make("dt", {}, key), make("dd"));
      rows.set(key, row);
    }
    if (list.children[place] !== row) list.insertBefore(row, list.children[place] ?? null);
    setText(row.lastElementChild, text);
    if (share !== undefined) row.style.setProperty("--share", share.toFixed(3));
  });
}

export function typing(event) {
  const target = event.target;
  return target instanceof HTMLElement && target.matches("input:not([type=checkbox]), textarea, select, [contenteditable]");
}
