"use strict";

// Tables: a heading sorts by its column, a second click the other way round.
function sortBy(heading) {
  const column = heading.cellIndex;
  const descending = heading.getAttribute("aria-sort") === "ascending";
  const body = heading.closest("table").tBodies[0];
  const key = (row) => row.cells[column].textContent.trim();
  const compare = (a, b) => {
    const [x, y] = [Number(key(a) || NaN), Number(key(b) || NaN)];
    if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1; // no number: last
    const order = Number.isNaN(x) ? key(a).localeCompare(key(b)) : x - y;
    return descending ? -order : order;
  };
  body.append(...[...body.rows].sort(compare));
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
}

for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}

// Label assignment: one object, one map and one level are shown at a time.
function startViewer(data) {
  const byId = (id) => document.getElementById(id);
  const stage = byId("stage");
  const entries = data.images.flatMap((image) =>
    image.objects.map((object) => ({ image, object })),
  );
  const shown = { entry: 0, map: 0, level: 0 };
  const values = new Map(); // cells -> Float32Array

  const current = () => {
    const { image, object } = entries[shown.entry];
    return { image, object, map: object.maps[shown.map], cells: object.maps[shown.map].levels[shown.level] };
  };

  function valuesOf(cells) {
    if (!values.has(cells)) {
      const bytes = Uint8Array.from(atob(cells.values), (character) => character.charCodeAt(0));
      values.set(cells, new Float32Array(bytes.buffer));
    }
    return values.get(cells);
  }

  function element(name, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  function drawStage() {
    const { image, object, map, cells } = current();
    const stride = image.strides[shown.level];
    const [x0, y0, x1, y1] = byId("zoom").checked ? object.region : [0, 0, image.width, image.height];
    stage.setAttribute("viewBox", `${x0} ${y0} ${x1 - x0} ${y1 - y0}`);
    stage.setAttribute("aria-label", `${map.name} of ${object.class} at stride ${stride} in ${image.name}`);
    const parts = [
      element("image", {
        class: "photo", href: image.source, width: image.width, height: image.height,
        preserveAspectRatio: "none",
      }),
    ];
    if (cells) {
      // A square around each location.
      const start = image.offset - 0.5;
      parts.push(element("image", {
        class: "heat", href: cells.heat, preserveAspectRatio: "none",
        x: (cells.x + start) * stride, y: (cells.y + start) * stride,
        width: cells.width * stride, height: cells.height * stride,
      }));
    }
    const [left, top, right, bottom] = object.box;
    parts.push(element("rect", { x: left, y: top, width: right - left, height: bottom - top }));
    if (object.peak && object.peak[0] === shown.level) {
      const [, x, y] = object.peak;
      const arm = Math.max(x1 - x0, y1 - y0) / 50;
      const cross = `M${x - arm} ${y}h${2 * arm}M${x} ${y - arm}v${2 * arm}`;
      parts.push(element("path", { class: "peak shadow", d: cross }));
      parts.push(element("path", { class: "peak", d: cross }));
    }
    stage.replaceChildren(...parts);
  }

  function drawButtons(container, labels, chosen, choose) {
    const focused = [...container.children].indexOf(document.activeElement);
    container.replaceChildren(
      ...labels.map((label, index) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = label;
        button.setAttribute("aria-pressed", String(index === chosen));
        button.addEventListener("click", () => choose(index));
        return button;
      }),
    );
    if (focused >= 0) container.children[Math.min(focused, labels.length - 1)].focus();
  }

  function draw() {
    const { image, object, map, cells } = current();
    byId("object-name").textContent =
      `${shown.entry + 1} of ${entries.length}: ${object.class} (object ${object.index} of ${image.name})`;
    drawButtons(byId("maps"), object.maps.map((each) => each.name), shown.map, (index) => show({ map: index }));
    const levels = image.strides.map((stride, level) => {
      const share = Math.round(100 * object.shares[level]);
      return map.levels[level] ? `stride ${stride}: ${share} %` : `stride ${stride}: no location`;
    });
    drawButtons(byId("levels"), levels, shown.level, (index) => show({ level: index }));
    byId("greatest").textContent = map.greatest.toPrecision(3);
    byId("readout").textContent = cells
      ? "Point at a location to read its value."
      : "No location of this level belongs to the object.";
    drawStage();
  }

  const bounded = (value, count) => Math.min(Math.max(value, 0), count - 1);

  function show(change) {
    const isOther = "entry" in change;
    const name = current().map.name;
    Object.assign(shown, change);
    shown.entry = bounded(shown.entry, entries.length);
    const { image, object } = entries[shown.entry];
    if (isOther) {
      // The same map at the level of the object's greatest value.
      shown.map = Math.max(object.maps.findIndex((map) => map.name === name), 0);
      if (object.peak) shown.level = object.peak[0];
    }
    shown.map %= object.maps.length;
    shown.level = bounded(shown.level, image.strides.length);
    draw();
  }

  function readValue(event) {
    const { image, cells } = current();
    const matrix = stage.getScreenCTM();
    if (!cells || !matrix) return;
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    const stride = image.strides[shown.level];
    const x = Math.floor(point.x / stride - image.offset + 0.5);
    const y = Math.floor(point.y / stride - image.offset + 0.5);
    const [column, row] = [x - cells.x, y - cells.y];
    const isInside = column >= 0 && row >= 0 && column < cells.width && row < cells.height;
    const value = isInside ? valuesOf(cells)[row * cells.width + column] : NaN;
    const place = `Location (${(x + image.offset) * stride}, ${(y + image.offset) * stride}) px: `;
    byId("readout").textContent = place + (Number.isNaN(value) ? "none" : value.toPrecision(4));
  }

  const steps = {
    ArrowLeft: () => show({ entry: shown.entry - 1 }),
    ArrowRight: () => show({ entry: shown.entry + 1 }),
    ArrowUp: () => show({ level: shown.level - 1 }),
    ArrowDown: () => show({ level: shown.level + 1 }),
    m: () => show({ map: shown.map + 1 }),
    M: () => show({ map: shown.map + 1 }),
  };
  byId("viewer").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in steps)) return;
    event.preventDefault(); // the page would scroll
    steps[event.key]();
  });
  // The keys work after a click on the picture, also where a browser gives the focus to no <div>.
  byId("stage").addEventListener("click", () => byId("viewer").focus({ preventScroll: true }));
  byId("previous").addEventListener("click", steps.ArrowLeft);
  byId("next").addEventListener("click", steps.ArrowRight);
  byId("zoom").addEventListener("change", drawStage);
  stage.addEventListener("pointermove", readValue);

  byId("viewer").hidden = false;
  show({ entry: 0 });
}

const assignments = document.getElementById("assignments");
if (assignments) startViewer(JSON.parse(assignments.textContent));
