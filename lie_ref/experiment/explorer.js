// Draws the page's data for the step, the pair, the learning rate ε and the kind of steps that the reader selects.
const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const { attributes, tensors, pairs, checkpoints, epsilons } = data;
const EXAMPLES = [...new Set(pairs.flat())].sort((a, b) => a - b);
const PICTURES = data.faces.map((_, n) => n);
const HAIR = new Set(data.hair);

const VIEWS = {
  plain: {
    label: "plain",
    words: "Steps along the negative gradient. What a swap changes is ε² times the Lie bracket [vᵢ, vⱼ] of the fields " +
      "v = −∇L.",
    effect: "the bracket",
    gradient: "the gradients",
    order: 2,
    missingAtFirst: "",
  },
  preconditioned: {
    label: "Adam’s scales",
    words: "Gradient steps in which each parameter is scaled as Adam scales it now, with fixed scales P. What a swap " +
      "changes is ε² times the Lie bracket of the fields −P∇L.",
    effect: "the bracket",
    gradient: "the scaled gradients",
    order: 2,
    missingAtFirst: "Adam has no scales before its first step.",
  },
  momentum: {
    label: "Adam with its memory",
    words: "The next two steps of Adam with its state. What a swap changes is ε times the effect shown here, to first " +
      "order. This is not a bracket: Adam’s state alone weighs the two examples differently.",
    effect: "the effect of the swap",
    gradient: "Adam’s updates",
    order: 1,
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
  e: Math.max(0, epsilons.indexOf(data.lr)),
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

const thousandths = (value) => (value === null || value === undefined ? "–" : value.toFixed(3).replace("-", "−"));
const signed = (value) => (value > 0 ? "+" : "") + format(value);
const percent = (share, digits = share > 0.1 && share < 0.9 ? 1 : 2) => `${(100 * share).toFixed(digits)}\u00a0%`;
/** A share that may be as small as it likes or above 1: two significant digits, three from 95 % on. */
const smallPercent = (share) => `${format(100 * share, share < 0.95 ? 2 : 3)}\u00a0%`;
const plainName = (a) => attributes[a].replaceAll("_", " ");

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

const epsilon = () => epsilons[state.e];

/** The change that a pair makes to a logit at the selected ε, as a function of picture n and attribute a. */
function changeOf(p, sign) {
  const view = shown();
  const all = values(view, "change", Int16Array);
  const start = p * PICTURES.length * attributes.length;
  const factor = sign * epsilon() ** VIEWS[state.view].order * view.scale[p];
  return (n, a) => factor * all[start + n * attributes.length + a];
}

function changeOfPair() {
  const { p, sign } = selected();
  return changeOf(p, sign);
}

/** The probability of attribute a in picture n, after the logits have been changed. */
function probability(n, a, change = () => 0) {
  const logits = values(current(), "logits", Float32Array);
  const weight = (k) => Math.exp(logits[n * attributes.length + k] + change(n, k));
  const rivals = data.exclusive.includes(a) ? data.exclusive : [a];
  return weight(a) / (1 + rivals.reduce((sum, k) => sum + weight(k), 0));
}

const target = (n, a) => values(data, "targets", Uint8Array)[n * attributes.length + a];

/** How far apart the two orders of a pair end at the selected ε, in lengths of a step (root mean square of the two). */
function gapOf(p, k = state.k) {
  const view = shown(k);
  if (!view) return undefined;
  const [a, b] = pairs[p].map((n) => view.steps[n]);
  const step = Math.sqrt((a ** 2 + b ** 2) / 2);
  return step ? (epsilon() ** (VIEWS[state.view].order - 1) * view.norm[p]) / step : 0;
}

/** The relative errors of the predictions at each tested ε of a checkpoint: medians over the tested pairs. */
function testedErrors({ epsilon: tested, errors } = current().expansion) {
  const points = new Map(tested.map((at, e) => [at, median(errors.map((of) => of[e] ?? Infinity))]));
  return [...points].sort(([a], [b]) => a - b);
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return (sorted[Math.floor((sorted.length - 1) / 2)] + sorted[Math.ceil((sorted.length - 1) / 2)]) / 2;
}

/** Whether the expansion holds at the selected step and ε: its `kind`, the `size` of its error, and both in words. */
function validity() {
  const found = testedErrors().find(([at]) => at === epsilon());
  if (state.view !== "plain" || !found) return { kind: "untested", size: "it was not tested", words: "not tested for these steps" };
  const [, error] = found;
  const kind = error <= 0.1 ? "holds" : error <= 1 ? "rough" : "fails";
  const size = Number.isFinite(error) ? `error ${smallPercent(error)}` : "no finite result";
  return { kind, size, words: { holds: `✓ holds, ${size}`, rough: `≈ rough, ${size}`, fails: `✗ fails, ${size}` }[kind] };
}

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

const face = (n, alt = `example ${n}`) => element("img", { src: data.faces[n], alt, title: alt });
const tables = new Map();

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
  tables.set(id, rows);
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
  byId("step-ticks").classList.toggle("dense", checkpoints.length > 9);
  byId("step-ticks").append(...checkpoints.map(({ step }) => element("span", {}, String(step))));
  byId("play").addEventListener("click", () => play(!playing));
  const rate = byId("epsilon");
  rate.max = epsilons.length - 1;
  rate.addEventListener("input", () => update({ e: Number(rate.value) }));
  byId("epsilon-ticks").append(...epsilons.map((at) =>
    element("span", { className: at === data.lr ? "used" : "" }, at < 1e-3 ? at.toExponential().replace("-", "−") : String(at))));
  makeChoice("views", Object.fromEntries(Object.entries(VIEWS).map(([name, { label }]) => [name, label])),
    (view) => update({ view }));
  makeChoice("scale", SCALES, (scale) => update({ scale }));
  makeChoice("sort", SORTS, (sort) => update({ sort }));
}

let playing = 0;

/** Go through the checkpoints, one each 0.9 seconds, from the first if the last one is shown; or stop. */
function play(on) {
  clearInterval(playing);
  playing = 0;
  if (on && state.k === last) update({ k: 0 });
  if (on && last) {
    playing = setInterval(() => {
      update({ k: state.k + 1 });
      if (state.k === last) play(false);
    }, 900);
  }
  byId("play").textContent = playing ? "❚❚" : "▶";
  byId("play").setAttribute("aria-label", playing ? "Stop" : "Play all checkpoints");
}

function drawBar() {
  const { step, validation } = current();
  const { kind, words } = validity();
  byId("epsilon").value = state.e;
  byId("epsilon").setAttribute("aria-valuetext", `ε = ${format(epsilon())}, ${words}`);
  byId("epsilon-name").textContent = format(epsilon());
  byId("validity").textContent = words;
  byId("validity").className = kind;
  byId("explorer").dataset.kind = kind;
  [...byId("epsilon-ticks").children].forEach((tick, e) => tick.classList.toggle("now", e === state.e));
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
  const { p, sign } = selected();
  const gap = shown() ? `${smallPercent(gapOf(p))} of a step apart` : "not available";
  byId("selection").textContent = `Step ${step}, ${words.label}, ε = ${format(epsilon())}: example ${i}, then ${j}: ${gap}`;
  byId("missing").hidden = Boolean(shown());
  byId("missing").textContent = `Step ${step} has no view “${words.label}”. ${step === 0 ? words.missingAtFirst : ""}`;
  byId("view-words").textContent = words.words;
  byId("changes-words").replaceChildren(
    element("b", {}, "Red"),
    `: the logit is higher after training on example ${i} and then on ${j} than after ${j} and then ${i}. `,
    element("b", {}, "Blue"),
    ": it is lower. Logits are the network’s outputs before they become probabilities. Rows are pictures (a bar marks " +
    "the two of the pair; a click makes one large), columns are attributes (hair colours in bold).");
  byId("pair-faces").replaceChildren(face(i), " → ", face(j));
  const opposite = sign < 0 ? ` This is the negative of ${j}, then ${i}.` : "";
  byId("pair-words").textContent = shown()
    ? `Example ${i}, then ${j}: ${words.effect} has norm ${format(shown().norm[p])}, a step has norm ` +
      `${format(Math.hypot(...[i, j].map((n) => shown().steps[n])) / Math.SQRT2)}. So at ε = ${format(epsilon())} the ` +
      `two orders would end ${gap}, as the bracket predicts.${opposite}`
    : `Example ${i}, then ${j}: nothing to show at this step.`;
  byId("sizes-says").textContent = sizesSentence();
  byId("changes-says").textContent = changesSentence();
}

function sizesSentence() {
  if (!shown()) return "Nothing is known at this step.";
  const gaps = pairs.map((_, p) => gapOf(p));
  const [most, least] = [largest(gaps), gaps.indexOf(Math.min(...gaps))];
  const of = (p) => `examples ${pairs[p].join(" and ")} (${smallPercent(gaps[p])} of a step)`;
  return `At ε = ${format(epsilon())} order matters most for ${of(most)} and least for ${of(least)}.`;
}

function changesSentence() {
  if (!shown()) return "Nothing is known at this step.";
  const change = changeOfPair();
  let most = { size: -1 };
  for (const n of PICTURES) {
    for (const a of attributes.keys()) {
      const [from, to] = [probability(n, a), probability(n, a, change)];
      if (Math.abs(to - from) > most.size) most = { size: Math.abs(to - from), n, a, from, to };
    }
  }
  const digits = Math.min(8, Math.max(1, Math.ceil(-Math.log10(100 * most.size || 1)) + 1));
  return `The order of this pair has its largest effect on ${plainName(most.a)} in picture ${most.n}: it would move the ` +
    `probability from ${percent(most.from, digits)} to ${percent(most.to, digits)}.`;
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
  pairs.forEach(([i, j], p) => [`${i} ${j}`, `${j} ${i}`].forEach((key) => norms.set(key, gapOf(p))));
  const steps = state.scale === "all" ? checkpoints.keys() : [state.k];
  const limit = Math.max(...[...steps].flatMap((k) => pairs.map((_, p) => gapOf(p, k) ?? 0))) || 1;
  for (const cell of matrixCells.flat()) {
    const [i, j] = [Number(cell.dataset.i), Number(cell.dataset.j)];
    const norm = i === j ? 0 : norms.get(`${i} ${j}`);
    const size = norm === undefined ? "not available" : `${smallPercent(norm)} of a step`;
    const isSelected = i === state.pair[0] && j === state.pair[1];
    cell.textContent = norm ? `${format(100 * norm, 2)}%` : format(norm, 2);
    cell.style.setProperty("--share", (norm ?? 0) / limit);
    cell.setAttribute("aria-label", i === j ? `example ${i} with itself: 0`
      : `example ${i}, then ${j}: ${size}${i > j ? ", the negative" : ""}`);
    cell.setAttribute("aria-selected", isSelected);
    cell.classList.toggle("opposite", i === state.pair[1] && j === state.pair[0]);
  }
  byId("matrix").querySelectorAll("th").forEach((th, n) => {
    th.classList.toggle("on", state.pair[n < EXAMPLES.length ? 1 : 0] === EXAMPLES[n % EXAMPLES.length]);
  });
  fillTable("matrix-table", () => [["first", "second", "norm", "% of a step apart"],
    ...pairs.map(([i, j], p) => [i, j, format(shown()?.norm[p]), format(shown() && 100 * gapOf(p))].map(String))]);
}

// The heat map of changes

let heat;

function makeHeatMap() {
  const heads = attributes.map(() => element("th", { scope: "col" }, element("span")));
  const rows = PICTURES.map((n) => ({
    head: element("th", { scope: "row" }, face(n, `picture ${n}`)),
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
  table.addEventListener("click", ({ target }) => openPicture(target));
  makeRoving(table, () => cells, { point: pointAt, enter: openPicture });
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
  return 32767 * epsilon() ** VIEWS[state.view].order * Math.max(...steps.map((k) => shown(k)?.scale[p] ?? 0));
}

function drawHeatMap() {
  const change = shown() ? changeOfPair() : () => 0;
  const limit = heatLimit();
  const before = heat.order;
  // Custom properties in the styles of 1,280 cells would cost a tenth of a second, so their values are read once.
  const style = getComputedStyle(byId("explorer"));
  const [raised, lowered] = ["--raised", "--lowered"].map((of) => style.getPropertyValue(of).trim());
  heat.order = heatOrder(change);
  heat.order.columns.forEach((a, c) => {
    if (before?.columns[c] === a) return;
    heat.heads[c].firstChild.textContent = attributes[a];
    heat.heads[c].classList.toggle("hair", HAIR.has(a));
  });
  heat.order.rows.forEach((n, r) => {
    const { head, cells } = heat.rows[r];
    if (before?.rows[r] !== n) {
      Object.assign(head.firstChild, { src: data.faces[n], alt: `picture ${n}`, title: `picture ${n}` });
    }
    head.classList.toggle("marked", state.pair.includes(n));
    heat.order.columns.forEach((a, c) => {
      const value = change(n, a);
      const share = Math.abs(value / limit).toFixed(3);
      cells[c].style.backgroundColor = value ? `rgb(${value > 0 ? raised : lowered} / ${share})` : "";
      cells[c].setAttribute("aria-label", `picture ${n}, ${attributes[a]}: ${changeWords(value, n, a)}`);
    });
  });
  const [low, high] = byId("colours").querySelectorAll("span");
  low.textContent = shown() ? `−${format(limit)} logits` : "–";
  high.textContent = shown() ? `+${format(limit)} logits` : "–";
  if (heat.at) pointAt(heat.at);
  fillTable("heat-table", () => [["picture", ...heat.order.columns.map((a) => attributes[a])],
    ...heat.order.rows.map((n) =>
      [String(n), ...heat.order.columns.map((a) => shown() ? signed(change(n, a)) : "–")])]);
}

function changeWords(value, n, a) {
  const change = shown() ? `change ${signed(value)} logits` : "change not available";
  return `${change} · label ${target(n, a) ? "yes" : "no"}, predicted ${percent(probability(n, a))}`;
}

/** Show the picture of a row of the heat map large, with its labels, and its probabilities before and after. */
function openPicture(node) {
  const r = heat.rows.findIndex(({ head }) => head.parentElement.contains(node));
  if (r < 0) return;
  const n = heat.order.rows[r];
  const change = shown() ? changeOfPair() : () => 0;
  const row = (texts, tag) => element("tr", {}, ...texts.map((text) => element(tag, {}, text)));
  const body = [...attributes.keys()].sort((a, b) => Math.abs(change(n, b)) - Math.abs(change(n, a))).map((a) => row([
    plainName(a), target(n, a) ? "yes" : "no", percent(probability(n, a)), percent(probability(n, a, change)), signed(change(n, a)),
  ], "td"));
  const head = row(["attribute", "label", "predicted", "with the change", "change in logits"], "th");
  byId("picture-name").textContent = `Picture ${n} at step ${current().step}, ε = ${format(epsilon())}`;
  byId("picture-words").textContent = `How training on example ${state.pair.join(" and then on ")}, instead of the other ` +
    "way round, changes this picture, as predicted for small steps.";
  byId("picture-face").replaceChildren(face(n, `picture ${n}`));
  byId("picture-table").replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
  byId("picture").showModal();
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
    ` of picture ${n}: ${changeWords(value, n, a)}`));
}
