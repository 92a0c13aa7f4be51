// Draws the charts of the explorer: the square, the test of the expansion, the law, the ranks, and agreement.

// The square that does not close

const SQUARE = { width: 560, height: 240, room: 52, lens: 74 };

/** The four corners of the selected pair's square at the selected ε, in units of ε, and the gap; null if not finite. */
function squareOf() {
  const [i, j] = state.pair;
  const { p } = selected();
  const { corners, gap } = current();
  const at = 8 * (p * epsilons.length + state.e);
  const numbers = [...values(current(), "corners", Float32Array).subarray(at, at + 8)];
  if (!numbers.every(Number.isFinite)) return null;
  const points = [0, 2, 4, 6].map((k) => [numbers[k], numbers[k + 1]]);
  const [first, then] = pairs[p][0] === i ? [points.slice(0, 2), points.slice(2)] : [points.slice(2), points.slice(0, 2)];
  return { first, then, gap: values(current(), "gap", Float32Array)[p * epsilons.length + state.e] };
}

function drawSquare() {
  const [i, j] = state.pair;
  const found = squareOf();
  const box = byId("square");
  if (!found) {
    box.replaceChildren();
    byId("square-says").textContent = `At ε = ${format(epsilon())} these steps lead to no finite numbers.`;
    byId("square-words").textContent = "";
    return;
  }
  const { first: [afterI, ij], then: [afterJ, ji], gap } = found;
  const { width, height, room, lens } = SQUARE;
  const points = [[0, 0], afterI, ij, afterJ, ji];
  const [xs, ys] = [0, 1].map((c) => points.map((point) => point[c]));
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const inner = width - 2 * lens - 2 * room;
  const unit = Math.min(inner / (right - left || 1), (height - 2 * room) / (high - low || 1));
  const place = ([x, y]) => [room + (inner - unit * (right - left)) / 2 + unit * (x - left),
    height - room - (height - 2 * room - unit * (high - low)) / 2 - unit * (y - low)];
  const text = ([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`;
  const path = (kind, ...ends) => svg("path", { class: kind, d: `M${ends.map(text).join("L")}` });
  const middle = [0, 1].map((c) => (place(ij)[c] + place(ji)[c]) / 2);
  const apart = Math.hypot(...[0, 1].map((c) => place(ij)[c] - place(ji)[c]));
  const most = Math.max(1, (1.2 * lens) / (apart || 1e-12));
  const decade = 10 ** Math.floor(Math.log10(most));
  const zoom = decade * [5, 2, 1].find((digit) => digit * decade <= most);
  const centre = [width - lens - 6, height / 2];
  const enlarged = (point) => place(point).map((v, c) => centre[c] + zoom * (v - middle[c]));
  // Within the lens only the directions of the last steps can be seen, so they are drawn from its edge.
  const ending = (kind, from, to) => {
    const [a, b] = [place(from), enlarged(to)];
    const length = Math.hypot(b[0] - centre[0] - zoom * (a[0] - middle[0]), b[1] - centre[1] - zoom * (a[1] - middle[1])) || 1;
    const away = [0, 1].map((c) => b[c] + (3 * lens * (centre[c] + zoom * (a[c] - middle[c]) - b[c])) / length);
    return [path(kind, away, b), svg("circle", { class: kind, cx: b[0], cy: b[1], r: 5 })];
  };
  const picture = (n, [x, y], dx, dy) => svg("image", { href: data.faces[n], x: x + dx, y: y + dy, width: 36, height: 36 });
  const half = (a, b) => [0, 1].map((c) => (place(a)[c] + place(b)[c]) / 2);
  const frame = { x: centre[0] - lens, y: centre[1] - lens, width: 2 * lens, height: 2 * lens };
  const label = `From the same weights, steps on example ${i} and then ${j}, and on ${j} and then ${i}, in their plane`;
  box.replaceChildren(svg("svg", { class: "square", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    path("first", ...[[0, 0], afterI, ij].map(place)), path("then", ...[[0, 0], afterJ, ji].map(place)),
    ...[afterI, ij].map(place).map(([x, y]) => svg("circle", { class: "first", cx: x, cy: y, r: 4 })),
    ...[afterJ, ji].map(place).map(([x, y]) => svg("circle", { class: "then", cx: x, cy: y, r: 4 })),
    svg("circle", { class: "start", cx: place([0, 0])[0], cy: place([0, 0])[1], r: 5 }),
    picture(i, half([0, 0], afterI), -18, 8), picture(j, half(afterI, ij), 10, -18),
    picture(j, half([0, 0], afterJ), -46, -18), picture(i, half(afterJ, ji), -18, -44),
    path("ray", middle, [centre[0] - lens, centre[1]]),
    svg("rect", { class: "lens", ...frame, rx: 6 }),
    svg("svg", { ...frame, viewBox: Object.values(frame).join(" ") }, ...ending("first", afterI, ij),
      ...ending("then", afterJ, ji), path("gap", enlarged(ij), enlarged(ji))),
    svg("text", { class: "middle", x: centre[0], y: centre[1] + lens + 18 }, `× ${format(zoom)}`)));
  const step = Math.sqrt((Math.hypot(...afterI) ** 2 + Math.hypot(...afterJ) ** 2) / 2);
  const inPlane = Math.hypot(ij[0] - ji[0], ij[1] - ji[1]);
  byId("square-says").textContent = `At ε = ${format(epsilon())}, training on ${i} then ${j} and training on ${j} then ` +
    `${i} really end ${smallPercent(gap / step)} of a step apart. The bracket predicted ` +
    `${smallPercent((epsilon() * current().views.plain.norm[selected().p]) / step)}.`;
  byId("square-words").textContent = "This is a real plane in the space of all parameters: it contains the two steps. " +
    (zoom > 1 ? `The box shows the two ends ${format(zoom)} times larger. ` : "") +
    `${smallPercent(Math.min(1, gap ? inPlane / gap : 0))} of the gap lies in this plane; the rest points out of it. All ` +
    "points were computed by carrying the steps out. While ε is small, halving it makes the square half as large and its " +
    "gap four times smaller.";
}

const squareRows = () => [["example", "then", "ε", "corner", `along the step on ${pairs[selected().p][0]}`, "across it"],
  ...["first", "then"].flatMap((side, s) => (squareOf()?.[side] ?? []).map(([x, y], c) =>
    [state.pair[s], state.pair[1 - s], format(epsilon()), c ? "after both" : "after one", format(x * epsilon(), 6),
      format(y * epsilon(), 6)].map(String)))];

// How far the prediction reaches

const TEST = { width: 460, height: 240, left: 96, bottom: 48, top: 8, right: 10 };

function drawTest() {
  const { width, height, left, bottom, top, right } = TEST;
  const { epsilon: tested, errors } = current().expansion;
  const x = [Math.log10(Math.min(...tested)), Math.log10(Math.max(...tested))];
  const y = [-3, 2];
  const place = (at, error) => [(width * (Math.log10(at) - x[0])) / (x[1] - x[0]),
    height * Math.min(1, Math.max(0, (y[1] - Math.log10(Math.max(error, 1e-9))) / (y[1] - y[0])))];
  const order = tested.map((_, e) => e).sort((a, b) => tested[a] - tested[b]);
  const lines = errors.map((of) => {
    const known = order.filter((e) => of[e] !== null).map((e) => place(tested[e], of[e]).map((v) => v.toFixed(1)).join(" "));
    return svg("path", { class: "test", d: known.length ? `M${known.join("L")}` : "" });
  });
  const tenth = place(1, 0.1)[1];
  const now = place(epsilon(), 1)[0];
  const rest = [svg("path", { class: "grid", d: `M0 0H${width}V${height}H0Z` }),
    svg("path", { class: "limit", d: `M0 ${tenth}H${width}` }), svg("path", { class: "chosen", d: `M${now} 0V${height}` }),
    svg("text", { x: width / 2, y: height + 42, class: "middle" }, "ε, the learning rate of the two steps"),
    svg("text", { transform: `translate(-80 ${height / 2}) rotate(-90)`, class: "middle" }, "relative error")];
  for (const decade of ticks(x)) {
    rest.push(svg("text", { x: place(10 ** decade, 1)[0], y: height + 20, class: "middle" }, format(10 ** decade)));
  }
  for (const [error, words] of [[1e-3, "0.1 %"], [1e-2, "1 %"], [0.1, "10 %"], [1, "100 %"], [10, "1000 %"]]) {
    rest.push(svg("text", { x: -8, y: place(1, error)[1] + 5, class: "end" }, words));
  }
  const viewBox = [-left, -top, width + left + right, height + top + bottom].join(" ");
  const label = "Error of the prediction of the logits against the learning rate, for three pairs";
  byId("test").replaceChildren(svg("svg", { class: "plot", viewBox, role: "img", "aria-label": label }, ...rest, ...lines));
  const within = testedErrors().filter(([, error], k, all) => all.slice(0, k + 1).every(([, e]) => e <= 0.1)).at(-1);
  byId("test-says").textContent = `At step ${current().step} brackets predict real swaps within 10 % ` +
    `${within ? `up to ε = ${format(within[0])}` : "at no ε that was tried"}` +
    `${state.view === "plain" ? `; at ε = ${format(epsilon())}, ${validity().size}` : ""}.`;
  fillTable("test-table", () => [["ε", ...errors.map((_, p) => `relative error, pair ${p + 1}`)],
    ...order.map((e) => [format(tested[e]), ...errors.map((of) => format(of[e]))])]);
}

// Bracket against gradient

/** The tensors' layers, numbered in the order of the network: the colour of a tensor says how deep it lies. */
const LAYERS = [...new Set(tensors.map((of) => of.split(".")[0]))];
const hue = (t) => Math.round(225 - (205 * LAYERS.indexOf(tensors[t].split(".")[0])) / Math.max(1, LAYERS.length - 1));
const PLOT = { width: 460, height: 300, left: 96, bottom: 48, top: 8, right: 10 };
const SMALL = { width: 110, height: 80 };
let plot, small;

/** The ranges of the axes, in decades, for the tensors of the selected pair at these checkpoints; null without any. */
function lawRange(steps) {
  const points = steps.flatMap((k) => [...tensorSizes(k), ...shuffledSizes(k)]).filter(isOnAxes);
  if (!points.length) return null;
  const range = (key) => {
    const logs = points.map((point) => Math.log10(point[key]));
    return [Math.min(...logs) - 0.15, Math.max(...logs) + 0.15];
  };
  return { x: range("gradient"), y: range("bracket") };
}

/** The sizes of brackets of shuffled gradients, which keep nothing of the examples but the norm of each tensor. */
function shuffledSizes(k = state.k) {
  if (state.view !== "plain") return [];
  const start = selected().p * tensors.length;
  const all = values(checkpoints[k], "shuffled", Float32Array);
  return tensorSizes(k).map(({ gradient }, t) => ({ gradient, bracket: all[start + t] }));
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
  circles.forEach((circle, t) => circle.style.setProperty("--hue", hue(t)));
  const shuffled = svg("path", { class: "shuffled" });
  const labels = svg("g");
  const inner = svg("svg", { width, height }, shuffled, fit, ...circles);
  plot = { frame, fit, circles, shuffled, labels };
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
  const fit = shown()?.fits[p];
  byId("law-says").textContent = fit?.constant > 0
    ? `At step ${current().step} a tensor’s ${state.view === "plain" ? "bracket" : "effect"} is ` +
      `${format(fit.constant)} times its gradient, with a correlation of ${thousandths(fit.correlation)}.`
    : "At this step no line could be fitted.";
  byId("law-words").textContent = "Each point is a parameter tensor of the network (the weights or the biases of a " +
    `layer): the root mean square (RMS) of ${effect} against that of ${gradient}, for the selected pair. Both axes ` +
    "are logarithmic. Blue points lie near the input of the network, red ones near its output. " +
    (state.view === "plain" ? "Grey crosses are the same brackets with the gradients shuffled within each tensor: " +
      "what the sizes of the tensors and the Hessian alone would give." : "");
  byId("multiples-says").textContent = multiplesSentence();
  drawScatter(lawRange([state.k]), fit);
  drawMultiples(lawRange([...checkpoints.keys()]));
  fillTable("scatter-table", () => [["tensor", `RMS of ${gradient}`, `RMS of ${effect}`, "RMS with shuffled gradients"],
    ...tensorSizes().map((row, t) => [row.name, row.gradient, row.bracket, shuffledSizes()[t]?.bracket]
      .map((cell, c) => (c ? format(cell) : cell)))]);
  fillTable("multiples-table", () => [["step", "constant c", "correlation"], ...checkpoints.map(({ step }, k) =>
    [String(step), format(shown(k)?.fits[p].constant), thousandths(shown(k)?.fits[p].correlation)])]);
}

function multiplesSentence() {
  const { p } = selected();
  const known = checkpoints.flatMap(({ step }, k) => (shown(k)?.fits[p].correlation ? [[step, shown(k).fits[p]]] : []));
  if (!known.length) return "No line could be fitted at any checkpoint.";
  const span = (key, written) => {
    const all = known.map(([, fit]) => fit[key]);
    return `from ${written(Math.min(...all))} to ${written(Math.max(...all))}`;
  };
  return `Over training the correlation of this pair ranges ${span("correlation", thousandths)}, and the constant ` +
    `${span("constant", (value) => format(value, 2))}.`;
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
  plot.shuffled.setAttribute("d", shuffledSizes().filter(isOnAxes).map(placeIn(PLOT, range ?? {}))
    .map(([x, y]) => `M${(x - 3).toFixed(1)} ${(y - 3).toFixed(1)}l6 6m0 -6l-6 6`).join(""));
  let grid = `M0 0H${width}V${height}H0Z`;
  const text = (content, at) => svg("text", at, content);
  const labels = [
    text(`RMS of ${gradient}`, { x: width / 2, y: height + 42, class: "middle" }),
    text(`RMS of ${effect}`, { transform: `translate(-80 ${height / 2}) rotate(-90)`, class: "middle" }),
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
    words.textContent = found ? `c ${format(found.constant)} · r ${thousandths(found.correlation)}` : "not available";
    button.setAttribute("aria-current", k === state.k);
  });
}

// The ranks of the attributes

const BUMP = { line: 15, top: 46, left: 46, right: 150, least: 150, most: 720 };
let bump;

/** The width of the lines: what the page leaves beside the names. */
const bumpWidth = () =>
  Math.max(BUMP.least, Math.min(BUMP.most, byId("bump").clientWidth - BUMP.left - BUMP.right));
const bumpX = (k) => (last ? (bump.width * k) / last : bump.width / 2);

function makeBump() {
  const { line, top, left, right } = BUMP;
  const height = line * (attributes.length - 1);
  bump = { width: bumpWidth(), at: bump?.at };
  const gap = Math.ceil((30 * last) / bump.width);  // steps whose labels would touch others are left out
  const now = svg("rect", { class: "now", y: 18 - top, width: 24, height: height + top - 10, rx: 4 });
  const lines = attributes.map(makeBumpLine);
  const steps = checkpoints.flatMap(({ step }, k) => ((last - k) % gap ? []
    : [svg("text", { class: "middle", x: bumpX(k), y: -12 }, String(step))]));
  const ranks = [1, 10, 20, 30, 40].filter((rank) => rank <= attributes.length)
    .map((rank) => svg("text", { class: "end axis", x: -10, y: line * (rank - 1) + 4 }, String(rank)));
  Object.assign(bump, { now, lines });
  const drawn = [...lines].sort((a, b) => a.group.classList.contains("hair") - b.group.classList.contains("hair"));
  const size = [left + bump.width + right, height + top + 10];
  const picture = svg("svg", { class: "bump", viewBox: [-left, -top, ...size].join(" "), width: size[0], height: size[1],
    role: "group", "aria-label": "Ranks of the attributes at each checkpoint" },
    now, svg("text", { x: bump.width / 2, y: -30, class: "middle axis" }, "training step"),
    svg("text", { transform: `translate(${14 - left} ${height / 2}) rotate(-90)`, class: "middle axis" }, "rank"),
    ...steps, ...ranks, ...drawn.map(({ group }) => group));
  byId("bump").replaceChildren(picture);
}

/** The line of an attribute, its name, and below them a wider line that is easier to point at. */
function makeBumpLine(name, a) {
  const [hit, line] = ["hit", "line"].map((kind) => svg("path", { class: kind }));
  const text = svg("text", { x: bump.width + 16 }, name);
  const group = svg("g", { tabindex: -1, role: "img", class: HAIR.has(a) ? "hair" : "" }, hit, line, text);
  if (HAIR.has(a)) group.style.setProperty("--hair", `var(--${name})`);
  group.addEventListener("pointerenter", () => pointAtAttribute(a));
  return { group, hit, line, text };
}

const ranksOf = (a) => checkpoints.map((_, k) => shown(k)?.ranks[a]);
const byLastRank = () => attributes.map((_, a) => a).sort((a, b) => (ranksOf(a)[last] ?? a) - (ranksOf(b)[last] ?? b));

function drawBump() {
  const { line } = BUMP;
  bump.now.setAttribute("x", bumpX(state.k) - 12);
  byId("ranks-says").textContent = ranksSentence();
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

function ranksSentence() {
  if (!shown()) return "Nothing is known at this step.";
  const { ranks } = shown();
  const hair = data.hair.map((a) => `${plainName(a)} ranks ${ranks[a]}`);
  return `At step ${current().step} swaps move ${plainName(ranks.indexOf(1))} most. ` +
    (hair.length ? `Of ${attributes.length} attributes, ${hair.join(", ")}.` : "");
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

// What hangs on agreement

const AGREE = { line: 15, left: 150, right: 24, top: 46, least: 130, most: 420 };

const agreements = new Map();

/** Each attribute's mean share in the changes by pairs that disagree on it, and by pairs that agree; ε does not count. */
function agreement() {
  const key = `${state.k} ${state.view}`;
  if (!agreements.has(key)) agreements.set(key, meanShares());
  return agreements.get(key);
}

function meanShares() {
  const shares = pairs.map((_, p) => {
    const change = changeOf(p, 1);
    const moved = attributes.map((_, a) => PICTURES.reduce((sum, n) => sum + Math.abs(change(n, a)), 0));
    const total = moved.reduce((sum, of) => sum + of, 0) || 1;
    return moved.map((of) => of / total);
  });
  const mean = (numbers) => (numbers.length ? numbers.reduce((sum, of) => sum + of, 0) / numbers.length : null);
  return attributes.map((_, a) => {
    const differ = pairs.map(([i, j]) => target(i, a) !== target(j, a));
    const [apart, alike] = [true, false].map((side) => mean(shares.filter((_, p) => differ[p] === side).map((of) => of[a])));
    return { a, apart, alike };
  });
}

function drawAgreement() {
  const { line, left, right, top } = AGREE;
  const width = Math.max(AGREE.least, Math.min(AGREE.most, byId("agreement").clientWidth - left - right));
  const all = shown() ? agreement() : [];
  const both = all.filter(({ apart, alike }) => apart !== null && alike !== null && alike > 0)
    .sort((p, q) => q.apart / q.alike - p.apart / p.alike);
  const more = both.filter(({ apart, alike }) => apart > alike).length;
  byId("agreement-says").textContent = both.length
    ? `${more} of ${both.length} attributes move more if the two examples disagree on them; most of all ` +
      `${plainName(both[0].a)}, ${format(both[0].apart / both[0].alike, 2)} times as much.`
    : "Nothing is known at this step.";
  const most = Math.max(...both.flatMap(({ apart, alike }) => [apart, alike]), 1e-9);
  const x = (share) => ((width * share) / most).toFixed(1);
  const height = line * both.length;
  const rows = both.flatMap(({ a, apart, alike }, r) => {
    const y = line * r + line / 2;
    return [svg("path", { class: "between", d: `M${x(alike)} ${y}H${x(apart)}` }),
      svg("circle", { class: "alike", cx: x(alike), cy: y, r: 4 }), svg("circle", { class: "apart", cx: x(apart), cy: y, r: 4 }),
      svg("text", { class: HAIR.has(a) ? "end hair" : "end", x: -10, y: y + 4 }, attributes[a])];
  });
  const unit = 10 ** Math.floor(Math.log10(most));
  const every = [0.2, 0.5, 1, 2, 5].map((part) => part * unit).find((part) => most / part <= width / 60);
  const marks = [...Array(Math.floor(most / every) + 1).keys()].map((k) =>
    svg("text", { class: "middle", x: x(k * every), y: -10 }, `${format(100 * k * every)} %`));
  const label = "Share of each attribute in the changes, by pairs that disagree on it and by pairs that agree";
  byId("agreement").replaceChildren(svg("svg", { class: "agreement", role: "img", "aria-label": label,
    viewBox: [-left, -top, left + width + right, height + top + 4].join(" "), width: left + width + right,
    height: height + top + 4 },
    svg("path", { class: "grid", d: `M0 0V${height}` }), ...marks,
    svg("text", { class: "middle", x: width / 2, y: -30 }, "share of all changes of logits"), ...rows));
  fillTable("agreement-table", () => [["attribute", "share if they disagree", "share if they agree"],
    ...all.map(({ a, apart, alike }) => [attributes[a], format(apart), format(alike)])]);
}
