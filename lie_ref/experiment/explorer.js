// Draws the page's data for the step, pair and view that the reader selects. It computes no findings.
"use strict";

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const { attributes, tensors, pairs, checkpoints } = data;
const EXAMPLES = [...new Set(pairs.flat())].sort((a, b) => a - b);
const PICTURES = data.faces.map((_, n) => n);
const HAIR = new Set(data.hair);

const VIEWS = {
  plain: {
    label: "plain",
    words: "Steps along the negative gradient. Shown is the Lie bracket [vᵢ, vⱼ] of the fields v = −∇L.",
    effect: "the bracket",
    gradient: "the gradients",
    unit: "per unit of squared learning rate",
    missingAtFirst: "",
  },
  preconditioned: {
    label: "Adam’s scales",
    words: "Gradient steps in which each parameter is scaled as Adam scales it now, with fixed scales P. Shown is " +
      "the Lie bracket of the fields −P∇L.",
    effect: "the bracket",
    gradient: "the scaled gradients",
    unit: "per unit of squared learning rate",
    missingAtFirst: "Adam has no preconditioner before its first step.",
  },
  momentum: {
    label: "Adam with its memory",
    words: "The next two steps of Adam with its state. Shown is the effect of swapping their examples, to first " +
      "order. This is not a bracket: Adam’s state alone weighs the two examples differently.",
    effect: "the effect of the swap",
    gradient: "Adam’s updates",
    unit: "per unit of learning rate",
    missingAtFirst: "",
  },
};
const SCALES = { step: "this step", all: "all steps" };
const SORTS = { none: "none", columns: "columns", rows: "rows", both: "both" };

const last = checkpoints.length - 1;
const state = {
  k: last,
  pair: pairs[largest(checkpoints[last].views.plain.norm)],
  view: "plain",
  scale: "step",
  sort: "none",
};

// Numbers and words

function largest(values) {
  return values.indexOf(Math.max(...values));
}

/** The number with a few significant digits and a real minus sign; a dash if it is undefined. */
function format(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const rounded = Number(value.toPrecision(digits));
  const text = size >= 1e-4 && size < 1e5 ? String(rounded) : rounded.toExponential();
  return text.replaceAll("-", "−").replace("e+", "e");
}

const signed = (value) => (value > 0 ? "+" : "") + format(value);
const percent = (share) => `${(100 * share).toFixed(share > 0.01 && share < 0.99 ? 0 : 2)}\u00a0%`;

// The data, which are decoded when they are first shown

function decode(text, Type) {
  return new Type(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
}

const decoded = new Map();

/** The typed array that the text `holder[key]` encodes. */
function values(holder, key, Type) {
  if (!decoded.has(holder)) decoded.set(holder, {});
  return (decoded.get(holder)[key] ??= decode(holder[key], Type));
}

const current = () => checkpoints[state.k];
const shown = (k = state.k) => checkpoints[k].views[state.view];

/** The index p of the selected pair, and the sign −1 if it is stored in the opposite order, else 1. */
function selected() {
  const [i, j] = state.pair;
  const p = pairs.findIndex(([a, b]) => (a === i && b === j) || (a === j && b === i));
  return { p, sign: pairs[p][0] === i ? 1 : -1 };
}

/** The change that the selected pair makes to a logit, as a function of picture n and attribute a. */
function changeOfPair() {
  const view = shown();
  const { p, sign } = selected();
  const all = values(view, "change", Int16Array);
  const start = p * PICTURES.length * attributes.length;
  return (n, a) => sign * view.scale[p] * all[start + n * attributes.length + a];
}

const probability = (n, a) => values(current(), "probabilities", Float32Array)[n * attributes.length + a];
const target = (n, a) => values(data, "targets", Uint8Array)[n * attributes.length + a];

/** The RMS of the gradients and of the bracket of the selected pair, for each tensor. */
function tensorSizes(k = state.k) {
  const view = shown(k);
  if (!view) return [];
  const start = selected().p * tensors.length;
  const [gradient, bracket] = ["gradient", "bracket"].map((key) => values(view, key, Float32Array));
  return tensors.map((name, t) => ({ name, gradient: gradient[start + t], bracket: bracket[start + t] }));
}

// Elements

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function svg(tag, attributesOf = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributesOf)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const face = (n, alt = `example ${n}`) => element("img", { src: data.faces[n], alt, title: `example ${n}` });

/** Make a group of radio buttons; `options` maps values to labels. */
function makeChoice(id, options, choose) {
  const labels = Object.entries(options).map(([value, label]) =>
    element("label", {}, element("input", { type: "radio", name: id, value, onchange: () => choose(value) }), label));
  byId(id).append(element("div", {}, ...labels));
}

function setChoice(id, value) {
  byId(id).querySelector(`[value="${value}"]`).checked = true;
}

/**
 * Make the elements in `box` one tab stop. `cells()` returns them in rows. Arrow keys, Home and End move between them
 * and call `point`; Enter and Space call `enter`. The box must not be an SVG element, which a focus listener would turn
 * into a tab stop. Returns a function to call when the cells have changed.
 */
function makeRoving(box, cells, { point, enter }) {
  const place = (target) => {
    const rows = cells();
    const r = rows.findIndex((row) => row.includes(target));
    return r < 0 ? null : { rows, r, c: rows[r].indexOf(target) };
  };
  const rest = (target) => {
    for (const cell of box.querySelectorAll('[tabindex="0"]')) cell.setAttribute("tabindex", "-1");
    target?.setAttribute("tabindex", "0");
  };
  const settle = () => {
    const all = cells().flat();
    rest(all.find((cell) => cell.tabIndex === 0) ?? all[0]);
  };
  settle();
  box.addEventListener("focusin", ({ target }) => {
    if (!place(target)) return;
    rest(target);
    point?.(target);
  });
  box.addEventListener("keydown", (event) => {
    const from = place(event.target);
    if (!from || event.ctrlKey || event.altKey || event.metaKey) return;
    const { rows, r, c } = from;
    const moves = {
      ArrowLeft: [r, c - 1], ArrowRight: [r, c + 1], ArrowUp: [r - 1, c], ArrowDown: [r + 1, c],
      Home: [r, 0], End: [r, rows[r].length - 1],
    };
    if (moves[event.key]) {
      const [toRow, toColumn] = moves[event.key];
      rows[toRow]?.[toColumn]?.focus();
    } else if (enter && ["Enter", " "].includes(event.key)) {
      enter(event.target);
    } else return;
    event.preventDefault();
  });
  return settle;
}

/** Fill the table below a picture if it is open. `rows()` returns the texts of the head and of all rows. */
function fillTable(id, rows) {
  const details = byId(id);
  details.querySelector("div")?.remove();
  if (!details.open) return;
  const [head, ...body] = rows();
  const row = (texts, tag) => element("tr", {}, ...texts.map((text, c) =>
    element(c && tag === "td" ? "td" : "th", { scope: tag === "td" ? "row" : "col" }, text)));
  const table = element("table", {}, element("thead", {}, row(head, "th")),
    element("tbody", {}, ...body.map((texts) => row(texts, "td"))));
  details.append(element("div", { className: "scroll", tabIndex: 0 }, table));
}

// The bar

function makeBar() {
  const slider = byId("step");
  slider.max = last;
  slider.addEventListener("input", () => update({ k: Number(slider.value) }));
  byId("step-ticks").append(...checkpoints.map(({ step }) => element("span", {}, String(step))));
  makeChoice("views", Object.fromEntries(Object.entries(VIEWS).map(([name, { label }]) => [name, label])),
    (view) => update({ view }));
  makeChoice("scale", SCALES, (scale) => update({ scale }));
  makeChoice("sort", SORTS, (sort) => update({ sort }));
}

function drawBar() {
  const { step, validation } = current();
  byId("step").value = state.k;
  byId("step").setAttribute("aria-valuetext", `step ${step}, validation loss ${format(validation)}`);
  byId("step-name").textContent = step;
  [...byId("step-ticks").children].forEach((tick, k) => tick.classList.toggle("now", k === state.k));
  for (const line of document.querySelectorAll("path.now")) {
    line.toggleAttribute("hidden", line.dataset.step !== String(step));
  }
  for (const row of document.querySelectorAll("tr[data-step]")) {
    row.classList.toggle("now", row.dataset.step === String(step));
  }
  for (const id of ["scale", "sort"]) setChoice(id, state[id]);
  setChoice("views", state.view);
}

/** Say what is selected, and whether the checkpoint lacks the view. */
function drawWords() {
  const [i, j] = state.pair;
  const { step } = current();
  const words = VIEWS[state.view];
  const norm = shown() && `size ${format(shown().norm[selected().p])}`;
  byId("selection").textContent =
    `Step ${step}, ${words.label}: example ${i}, then ${j}, ${norm ?? "not available"}`;
  byId("missing").hidden = Boolean(shown());
  byId("missing").textContent = `Step ${step} has no view “${words.label}”. ${step === 0 ? words.missingAtFirst : ""}`;
  byId("view-words").textContent = words.words;
  byId("changes-words").replaceChildren(
    element("b", {}, "Red"),
    `: the logit is higher after training on example ${i} and then on ${j} than after ${j} and then ${i}. `,
    element("b", {}, "Blue"),
    `: it is lower. Logits are the network’s outputs before they become probabilities; the changes are given ` +
    `${words.unit}. Rows are pictures (a bar marks the two of the pair), columns are attributes (hair colours in ` +
    "bold).");
  byId("pair-faces").replaceChildren(face(i), " → ", face(j));
  const { p, sign } = selected();
  const opposite = sign < 0 ? ` This is the negative of ${j}, then ${i}.` : "";
  byId("pair-words").textContent = shown()
    ? `Example ${i}, then ${j}: ${words.effect} has norm ${format(shown().norm[p])}.${opposite}`
    : `Example ${i}, then ${j}: nothing to show at this step.`;
}

// The matrix of sizes

let matrixCells;

function makeMatrix() {
  const heads = EXAMPLES.map((n) => element("th", { scope: "col" }, face(n)));
  matrixCells = EXAMPLES.map((i) => EXAMPLES.map((j) => {
    const cell = element("td", { tabIndex: -1, className: i === j ? "same" : "" });
    cell.setAttribute("role", "gridcell");
    Object.assign(cell.dataset, { i, j });
    return cell;
  }));
  const corner = element("td", { className: "corner" }, "then →", element("br"), "first ↓");
  const rows = matrixCells.map((cells, r) =>
    element("tr", {}, element("th", { scope: "row" }, face(EXAMPLES[r])), ...cells));
  const table = element("table", { ariaLabel: "Sizes: first example by row, second by column" },
    element("tr", {}, corner, ...heads), ...rows);
  table.setAttribute("role", "grid");
  byId("matrix").append(table);
  const choose = (cell) => {
    const { i, j } = cell?.dataset ?? {};
    if (i !== j) update({ pair: [Number(i), Number(j)] });
  };
  table.addEventListener("click", ({ target }) => choose(target.closest("[role=gridcell]")));
  makeRoving(table, () => matrixCells, { enter: choose });
}

function drawMatrix() {
  const norms = new Map();
  pairs.forEach(([i, j], p) => [`${i} ${j}`, `${j} ${i}`].forEach((key) => norms.set(key, shown()?.norm[p])));
  const steps = state.scale === "all" ? checkpoints.keys() : [state.k];
  const limit = Math.max(...[...steps].flatMap((k) => shown(k)?.norm ?? [0])) || 1;
  for (const cell of matrixCells.flat()) {
    const [i, j] = [Number(cell.dataset.i), Number(cell.dataset.j)];
    const norm = i === j ? 0 : norms.get(`${i} ${j}`);
    const size = norm === undefined ? "not available" : format(norm);
    const isSelected = i === state.pair[0] && j === state.pair[1];
    cell.textContent = format(norm, 2);
    cell.style.setProperty("--share", (norm ?? 0) / limit);
    cell.setAttribute("aria-label", i === j ? `example ${i} with itself: 0`
      : `example ${i}, then ${j}: ${size}${i > j ? ", the negative" : ""}`);
    cell.setAttribute("aria-selected", isSelected);
    cell.classList.toggle("opposite", i === state.pair[1] && j === state.pair[0]);
  }
  byId("matrix").querySelectorAll("th").forEach((th, n) => {
    th.classList.toggle("on", state.pair[n < EXAMPLES.length ? 1 : 0] === EXAMPLES[n % EXAMPLES.length]);
  });
  fillTable("matrix-table", () => [["first", "second", "norm"],
    ...pairs.map(([i, j], p) => [String(i), String(j), format(shown()?.norm[p])])]);
}

// The heat map of changes

let heat;

function makeHeatMap() {
  const heads = attributes.map(() => element("th", { scope: "col" }, element("span")));
  const rows = PICTURES.map((n) => ({
    head: element("th", { scope: "row" }, face(n)),
    cells: attributes.map(() => {
      const cell = element("td", { tabIndex: -1 });
      cell.setAttribute("role", "gridcell");
      return cell;
    }),
  }));
  const label = "Change of each logit: pictures by row, attributes by column";
  const table = element("table", { className: "heat", ariaLabel: label },
    element("thead", {}, element("tr", {}, element("th"), ...heads)),
    element("tbody", {}, ...rows.map(({ head, cells }) => element("tr", {}, head, ...cells))));
  table.setAttribute("role", "grid");
  table.style.setProperty("--columns", attributes.length);
  byId("heat").append(table);
  const cells = rows.map((row) => row.cells);
  heat = { heads, rows, cells, at: null, order: null };
  table.addEventListener("pointerover", ({ target }) => target.matches("td") && pointAt(target));
  makeRoving(table, () => cells, { point: pointAt });
}

/** The rows and columns in the order of display. */
function heatOrder(change) {
  const sum = (keys, size) => keys.reduce((total, key) => total + Math.abs(size(key)), 0);
  const falling = (keys, size) => {
    const sizes = keys.map(size);
    return [...keys].sort((a, b) => sizes[b] - sizes[a]);
  };
  const [rows, columns] = [PICTURES, [...attributes.keys()]];
  const rowSize = (n) => sum(columns, (a) => change(n, a));
  const columnSize = (a) => sum(rows, (n) => change(n, a));
  return {
    rows: ["rows", "both"].includes(state.sort) ? falling(rows, rowSize) : rows,
    columns: ["columns", "both"].includes(state.sort) ? falling(columns, columnSize) : columns,
  };
}

/** The largest change on the colour scale: of the selected pair, at this step or at all steps. */
function heatLimit() {
  const { p } = selected();
  const steps = state.scale === "all" ? [...checkpoints.keys()] : [state.k];
  return 32767 * Math.max(...steps.map((k) => shown(k)?.scale[p] ?? 0));
}

function drawHeatMap() {
  const change = shown() ? changeOfPair() : () => 0;
  const limit = heatLimit();
  heat.order = heatOrder(change);
  heat.order.columns.forEach((a, c) => {
    heat.heads[c].firstChild.textContent = attributes[a];
    heat.heads[c].classList.toggle("hair", HAIR.has(a));
  });
  heat.order.rows.forEach((n, r) => {
    const { head, cells } = heat.rows[r];
    Object.assign(head.firstChild, { src: data.faces[n], alt: `example ${n}`, title: `example ${n}` });
    head.classList.toggle("marked", state.pair.includes(n));
    heat.order.columns.forEach((a, c) => {
      const value = change(n, a);
      const sign = value > 0 ? "raised" : "lowered";
      cells[c].style.backgroundColor = value ? `rgb(var(--${sign}) / ${Math.abs(value / limit).toFixed(3)})` : "";
      cells[c].setAttribute("aria-label", `example ${n}, ${attributes[a]}: ${changeWords(value, n, a)}`);
    });
  });
  const [low, high] = byId("colours").querySelectorAll("span");
  low.textContent = shown() ? `−${format(limit)}` : "–";
  high.textContent = shown() ? `+${format(limit)}` : "–";
  if (heat.at) pointAt(heat.at);
  fillTable("heat-table", () => [["example", ...heat.order.columns.map((a) => attributes[a])],
    ...heat.order.rows.map((n) =>
      [String(n), ...heat.order.columns.map((a) => shown() ? signed(change(n, a)) : "–")])]);
}

function changeWords(value, n, a) {
  const change = shown() ? `change ${signed(value)}` : "change not available";
  return `${change} · target ${target(n, a) ? "yes" : "no"}, predicted ${percent(probability(n, a))}`;
}

/** Show the value of a cell of the heat map, and mark its row and column. */
function pointAt(cell) {
  const r = heat.cells.findIndex((row) => row.includes(cell));
  const c = heat.cells[r].indexOf(cell);
  const [n, a] = [heat.order.rows[r], heat.order.columns[c]];
  heat.at = cell;
  heat.heads.forEach((head, k) => head.classList.toggle("on", k === c));
  heat.rows.forEach(({ head }, k) => head.classList.toggle("on", k === r));
  const value = shown() ? changeOfPair()(n, a) : 0;
  byId("change-readout").replaceChildren(face(n, ""), element("span", {}, element("b", {}, attributes[a]),
    ` of example ${n}: ${changeWords(value, n, a)}`));
}

// Bracket against gradient

const PLOT = { width: 460, height: 300, left: 78, bottom: 48, top: 8, right: 10 };
const SMALL = { width: 110, height: 80 };
let plot, small;

/** The ranges of the axes, in decades, for the tensors of the selected pair at all checkpoints; null without any. */
function lawRange() {
  const points = checkpoints.flatMap((_, k) => tensorSizes(k)).filter(isOnAxes);
  if (!points.length) return null;
  const range = (key) => {
    const logs = points.map((point) => Math.log10(point[key]));
    return [Math.min(...logs) - 0.15, Math.max(...logs) + 0.15];
  };
  return { x: range("gradient"), y: range("bracket") };
}

const isOnAxes = ({ gradient, bracket }) => gradient > 0 && bracket > 0;

/** A function that gives the place of a tensor in a picture of the size of `box`. */
function placeIn({ width, height }, { x, y }) {
  return ({ gradient, bracket }) => [
    (width * (Math.log10(gradient) - x[0])) / (x[1] - x[0]),
    (height * (y[1] - Math.log10(bracket))) / (y[1] - y[0]),
  ];
}

/** The path of bracket = c · gradient, across the picture. */
function fitPath(constant, box, range) {
  if (!(constant > 0)) return "";
  const ends = range.x.map((x) => ({ gradient: 10 ** x, bracket: constant * 10 ** x })).map(placeIn(box, range));
  return "M" + ends.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
}

function makeScatter() {
  const { width, height, left, bottom, top, right } = PLOT;
  const frame = svg("path", { class: "grid" });
  const fit = svg("path", { class: "fit" });
  const circles = tensors.map(() => svg("circle", { r: 4.5, tabindex: -1, role: "img" }));
  const labels = svg("g");
  const inner = svg("svg", { width, height }, fit, ...circles);
  plot = { frame, fit, circles, labels };
  const viewBox = [-left, -top, width + left + right, height + top + bottom].join(" ");
  const label = "RMS of the bracket against RMS of the gradients, one point per tensor";
  byId("scatter").append(
    svg("svg", { class: "plot", viewBox, role: "group", "aria-label": label }, frame, labels, inner));
  circles.forEach((circle, t) => circle.addEventListener("pointerenter", () => pointAtTensor(t)));
  const drawn = () => tensorSizes().map((size, t) => ({ ...size, circle: circles[t] })).filter(isOnAxes);
  const fromLeft = () => drawn().sort((a, b) => a.gradient - b.gradient).map(({ circle }) => circle);
  plot.settle = makeRoving(byId("scatter"), () => [fromLeft()],
    { point: (circle) => pointAtTensor(circles.indexOf(circle)) });
}

function makeMultiples() {
  small = checkpoints.map(({ step }, k) => {
    const [fit, points] = ["fit", "points"].map((name) => svg("path", { class: name }));
    const parts = { fit, points, words: element("span") };
    const { width, height } = SMALL;
    const picture = svg("svg", { class: "small", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
      svg("path", { class: "frame", d: `M0 0H${width}V${height}H0Z` }), points, fit);
    parts.button = element("button", { type: "button", tabIndex: -1, onclick: () => update({ k }) },
      element("b", {}, `step ${step}`), picture, parts.words);
    return parts;
  });
  byId("multiples").append(...small.map(({ button }) => button));
  makeRoving(byId("multiples"), () => [small.map(({ button }) => button)], {});
}

function drawLaw() {
  const { p } = selected();
  const { effect, gradient } = VIEWS[state.view];
  const range = lawRange();
  const fit = shown()?.fits[p];
  const line = fit?.constant > 0
    ? `On the line, the former is ${format(fit.constant)} times the latter. The correlation of the logarithms is ` +
      `${format(fit.correlation)}.`
    : "At this step, no line could be fitted.";
  byId("law-words").textContent = "Each point is a parameter tensor of the network (the weights or the biases of a " +
    `layer): the root mean square (RMS) of ${effect} against that of ${gradient}, for the selected pair. Both axes ` +
    `are logarithmic. ${line}`;
  drawScatter(range, fit);
  drawMultiples(range);
  fillTable("scatter-table", () => [["tensor", `RMS of ${gradient}`, `RMS of ${effect}`],
    ...tensorSizes().map((row) => [row.name, format(row.gradient), format(row.bracket)])]);
  fillTable("multiples-table", () => [["step", "constant c", "correlation"], ...checkpoints.map(({ step }, k) =>
    [String(step), format(shown(k)?.fits[p].constant), format(shown(k)?.fits[p].correlation)])]);
}

function drawScatter(range, fit) {
  const { width, height } = PLOT;
  const { effect, gradient } = VIEWS[state.view];
  const sizes = tensorSizes();
  plot.circles.forEach((circle, t) => {
    const size = sizes[t];
    circle.style.display = size && isOnAxes(size) ? "" : "none";
    circle.setAttribute("aria-label", tensorWords(t));
    if (!size || !isOnAxes(size)) return;
    const [x, y] = placeIn(PLOT, range)(size);
    circle.style.transform = `translate(${x}px, ${y}px)`;
  });
  plot.fit.setAttribute("d", range ? fitPath(fit?.constant, PLOT, range) : "");
  let grid = `M0 0H${width}V${height}H0Z`;
  const text = (content, at) => svg("text", at, content);
  const labels = [
    text(`RMS of ${gradient}`, { x: width / 2, y: height + 42, class: "middle" }),
    text(`RMS of ${effect}`, { transform: `translate(-60 ${height / 2}) rotate(-90)`, class: "middle" }),
  ];
  for (const tick of range ? ticks(range.x) : []) {
    const x = (width * (tick - range.x[0])) / (range.x[1] - range.x[0]);
    grid += `M${x.toFixed(1)} 0V${height}`;
    labels.push(text(format(10 ** tick), { x, y: height + 20, class: "middle" }));
  }
  for (const tick of range ? ticks(range.y) : []) {
    const y = (height * (range.y[1] - tick)) / (range.y[1] - range.y[0]);
    grid += `M0 ${y.toFixed(1)}H${width}`;
    labels.push(text(format(10 ** tick), { x: -8, y: y + 5, class: "end" }));
  }
  plot.frame.setAttribute("d", grid);
  plot.labels.replaceChildren(...labels);
  plot.settle();
  if (plot.at !== undefined) pointAtTensor(plot.at);
}

/** The ticks of an axis, as logarithms: whole decades, and values between them on a short axis. */
function ticks([low, high]) {
  const every = Math.ceil((high - low) / 6);
  const digits = high - low < 2 ? [1, 2, 5] : [1];
  const all = [];
  for (let decade = Math.floor(low); decade <= high; decade++) {
    if (decade % every === 0) all.push(...digits.map((digit) => decade + Math.log10(digit)));
  }
  return all.filter((tick) => low <= tick && tick <= high);
}

function tensorWords(t) {
  const size = tensorSizes()[t];
  const { effect, gradient } = VIEWS[state.view];
  const words = size ? `: RMS of ${effect} ${format(size.bracket)}, RMS of ${gradient} ${format(size.gradient)}` : "";
  return tensors[t] + words;
}

/** Show the name and sizes of a tensor of the scatter plot. */
function pointAtTensor(t) {
  plot.at = t;
  plot.circles.forEach((circle, k) => circle.classList.toggle("on", k === t));
  byId("tensor-readout").textContent = tensorWords(t);
}

function drawMultiples(range) {
  const { p } = selected();
  small.forEach(({ button, fit, points, words }, k) => {
    const found = shown(k)?.fits[p];
    const dots = tensorSizes(k).filter(isOnAxes).map(placeIn(SMALL, range ?? {}));
    points.setAttribute("d", dots.map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join(""));
    fit.setAttribute("d", range ? fitPath(found?.constant, SMALL, range) : "");
    words.textContent = found ? `c ${format(found.constant)} · r ${format(found.correlation, 2)}` : "not available";
    button.setAttribute("aria-current", k === state.k);
  });
}

// The ranks of the attributes

const BUMP = { width: 720, line: 15, top: 26, left: 34, right: 170 };
let bump;

const bumpX = (k) => (last ? (BUMP.width * k) / last : BUMP.width / 2);

function makeBump() {
  const { width, line, top, left, right } = BUMP;
  const height = line * (attributes.length - 1);
  const now = svg("rect", { class: "now", y: -top, width: 40, height: height + top + 10, rx: 4 });
  const lines = attributes.map(makeBumpLine);
  const steps = checkpoints.map(({ step }, k) =>
    svg("text", { class: "middle", x: bumpX(k), y: -top + 14 }, String(step)));
  const ranks = [1, 10, 20, 30, 40].filter((rank) => rank <= attributes.length)
    .map((rank) => svg("text", { class: "end axis", x: -10, y: line * (rank - 1) + 4 }, String(rank)));
  bump = { now, lines };
  const drawn = [...lines].sort((a, b) => a.group.classList.contains("hair") - b.group.classList.contains("hair"));
  const viewBox = [-left, -top - 4, left + width + right, height + top + 20].join(" ");
  const label = "Ranks of the attributes at each checkpoint";
  byId("bump").append(svg("svg", { class: "bump", viewBox, role: "group", "aria-label": label },
    now, ...steps, ...ranks, ...drawn.map(({ group }) => group)));
  makeRoving(byId("bump"), () => byLastRank().map((a) => [lines[a].group]),
    { point: (group) => pointAtAttribute(lines.findIndex((parts) => parts.group === group)) });
}

/** The line of an attribute, its name, and below them a wider line that is easier to point at. */
function makeBumpLine(name, a) {
  const [hit, line] = ["hit", "line"].map((kind) => svg("path", { class: kind }));
  const text = svg("text", { x: BUMP.width + 26 }, name);
  const group = svg("g", { tabindex: -1, role: "img", class: HAIR.has(a) ? "hair" : "" }, hit, line, text);
  if (HAIR.has(a)) line.style.stroke = `var(--${name})`;
  group.addEventListener("pointerenter", () => pointAtAttribute(a));
  return { group, hit, line, text };
}

const ranksOf = (a) => checkpoints.map((_, k) => shown(k)?.ranks[a]);
const byLastRank = () => attributes.map((_, a) => a).sort((a, b) => (ranksOf(a)[last] ?? a) - (ranksOf(b)[last] ?? b));

function drawBump() {
  const { line } = BUMP;
  bump.now.setAttribute("x", bumpX(state.k) - 20);
  bump.lines.forEach((parts, a) => {
    const ranks = ranksOf(a);
    const points = ranks.flatMap((rank, k) => (rank ? [[bumpX(k), line * (rank - 1)]] : []));
    const d = points.map(([x, y], m) => (m ? `L${x.toFixed(1)} ${y}` : `M${x.toFixed(1)} ${y}h.01`)).join("");
    parts.line.setAttribute("d", d);
    parts.hit.setAttribute("d", d);
    parts.text.setAttribute("y", line * ((ranks[last] ?? a + 1) - 1) + 4);
    parts.group.setAttribute("aria-label", rankWords(a));
  });
  if (bump.at !== undefined) pointAtAttribute(bump.at);
  fillTable("bump-table", () => [["attribute", ...checkpoints.map(({ step }) => `step ${step}`)],
    ...byLastRank().map((a) => [attributes[a], ...ranksOf(a).map((rank) => String(rank ?? "–"))])]);
}

function rankWords(a) {
  const rank = shown()?.ranks[a];
  const place = rank ? `rank ${rank}, mean |logit change| ${format(shown().means[a])}` : "rank not available";
  return `${attributes[a]}: ${place} at step ${current().step}`;
}

/** Show the name and rank of an attribute of the bump chart. */
function pointAtAttribute(a) {
  bump.at = a;
  bump.lines.forEach(({ group }, other) => group.classList.toggle("on", other === a));
  byId("rank-readout").textContent = rankWords(a);
}

// The state and its permalink

function draw() {
  drawBar();
  drawWords();
  drawMatrix();
  drawHeatMap();
  drawLaw();
  drawBump();
}

function update(changes) {
  Object.assign(state, changes);
  draw();
  const { pair, view, scale, sort } = state;
  const parts = { step: current().step, pair: pair.join("-"), view, scale, sort };
  history.replaceState(null, "", `#${new URLSearchParams(parts)}`);
}

/** The parts of the state that the page's fragment names, without those that do not exist. */
function fragmentState() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const found = {};
  const k = checkpoints.findIndex(({ step }) => String(step) === parts.get("step"));
  if (k >= 0) found.k = k;
  const pair = pairs.flatMap(([i, j]) => [[i, j], [j, i]]).find((ends) => ends.join("-") === parts.get("pair"));
  if (pair) found.pair = pair;
  for (const [key, options] of Object.entries({ view: VIEWS, scale: SCALES, sort: SORTS })) {
    if (Object.hasOwn(options, parts.get(key))) found[key] = parts.get(key);
  }
  return found;
}

function start() {
  for (const node of document.querySelectorAll("#bar, #explorer, .scripted")) node.hidden = false;
  makeBar();
  makeMatrix();
  makeHeatMap();
  makeScatter();
  makeMultiples();
  makeBump();
  for (const details of document.querySelectorAll("#explorer details")) details.addEventListener("toggle", draw);
  addEventListener("hashchange", () => update(fragmentState()));
  Object.assign(state, fragmentState());
  draw();
}

start();
