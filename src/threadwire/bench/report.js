// Shows the values under the pointer. The plots are complete without it.
for (const plot of document.querySelectorAll(".plot")) {
  const told = JSON.parse(plot.dataset.readout);
  if (!told.places.length) continue;
  const line = Object.assign(document.createElement("div"), { className: "crosshair", hidden: true });
  const box = Object.assign(document.createElement("div"), { className: "readout", hidden: true });
  plot.append(line, box);
  plot.addEventListener("pointermove", (event) => {
    const bounds = plot.getBoundingClientRect();
    const at = (event.clientX - bounds.left) / bounds.width;
    let near = 0;
    told.places.forEach((place, n) => {
      if (Math.abs(place - at) < Math.abs(told.places[near] - at)) near = n;
    });
    const place = told.places[near];
    box.replaceChildren(Object.assign(document.createElement("b"), { textContent: told.at[near] }));
    told.values[near].forEach((value, n) => {
      if (value === null) return;
      const row = document.createElement("div");
      const dot = Object.assign(document.createElement("i"), { className: told.names[n][1] });
      row.append(dot, `${told.names[n][0]} ${value}`);
      box.append(row);
    });
    line.hidden = box.hidden = false;
    line.style.left = `${place * 100}%`;
    const left = place > 0.5 ? place * bounds.width - box.offsetWidth - 10 : place * bounds.width + 10;
    box.style.left = `${Math.max(0, Math.min(left, bounds.width - box.offsetWidth))}px`;
  });
  plot.addEventListener("pointerleave", () => (line.hidden = box.hidden = true));
}
