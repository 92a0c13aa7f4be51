// Leads the reader through the page in six steps, keeps the reader's choices in the address, and starts the page.

// The guided tour

const strongest = () => pairs[largest(checkpoints[last].views.plain.norm)];
const used = { view: "plain", e: epsilons.indexOf(data.lr) };
const TOUR = [
  { at: "training", choose: () => ({ ...used, k: 0, pair: strongest() }), words: () => byId("training-says").textContent +
    " Would the network have learned something else from the same pictures in another order?" },
  { at: "see", choose: () => ({ ...used, k: last, pair: strongest() }), words: () => "Take two pictures. " +
    byId("square-says").textContent + " The square does not close, and the gap is ε² times their Lie bracket." },
  { at: "sizes", choose: () => ({ ...used, k: last }), words: () => "Every two pictures have a bracket. " +
    byId("sizes-says").textContent },
  { at: "changes", choose: () => ({ ...used, k: last, sort: "both" }), words: () => "The gap moves every answer of the " +
    "network. " + byId("changes-says").textContent },
  { at: "reach", choose: () => ({ ...used, k: last }), words: () => "A bracket is a prediction for small steps. " +
    byId("test-says").textContent },
  { at: "law", choose: () => ({ ...used, k: last }), words: () => byId("law-says").textContent + " " +
    byId("ranks-says").textContent + " So this run found: " + byId("answer").textContent.trim() },
];
let place = -1;

/** Go to a stop of the tour; leave it before the first and after the last. */
function tour(to) {
  place = to in TOUR ? to : -1;
  byId("tour-panel").hidden = place < 0;
  if (place < 0) {
    byId("tour").focus();
    return;
  }
  const { at, choose, words } = TOUR[place];
  update(choose());
  byId("tour-words").textContent = words();
  byId("tour-place").textContent = `${place + 1} of ${TOUR.length}`;
  byId("tour-back").disabled = place === 0;
  byId("tour-next").textContent = place === TOUR.length - 1 ? "Done" : "Next";
  byId(at).scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

function makeTour() {
  byId("tour").addEventListener("click", () => {
    tour(0);
    byId("tour-next").focus();
  });
  byId("tour-back").addEventListener("click", () => tour(place - 1));
  byId("tour-next").addEventListener("click", () => tour(place + 1));
  byId("tour-leave").addEventListener("click", () => tour(-1));
  byId("tour-panel").addEventListener("keydown", ({ key }) => key === "Escape" && tour(-1));
}

// The state and its permalink

function draw() {
  drawBar();
  drawSquare();
  drawMatrix();
  drawHeatMap();
  drawTest();
  drawLaw();
  drawBump();
  drawAgreement();
  drawWords();
}

function update(changes) {
  Object.assign(state, changes);
  draw();
  const { pair, view, scale, sort } = state;
  const parts = { step: current().step, pair: pair.join("-"), view, eps: epsilon(), scale, sort };
  history.replaceState(null, "", `#${new URLSearchParams(parts)}`);
}

/** The parts of the state that the page's fragment names, without those that do not exist. */
function fragmentState() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const found = {};
  const k = checkpoints.findIndex(({ step }) => String(step) === parts.get("step"));
  if (k >= 0) found.k = k;
  const e = epsilons.findIndex((at) => String(at) === parts.get("eps"));
  if (e >= 0) found.e = e;
  const pair = pairs.flatMap(([i, j]) => [[i, j], [j, i]]).find((ends) => ends.join("-") === parts.get("pair"));
  if (pair) found.pair = pair;
  for (const [key, options] of Object.entries({ view: VIEWS, scale: SCALES, sort: SORTS })) {
    if (Object.hasOwn(options, parts.get(key))) found[key] = parts.get(key);
  }
  return found;
}

/** What each figure saves: its picture, and the numbers of its table. */
const SAVED = {
  square: squareRows, matrix: "matrix-table", heat: "heat-table", test: "test-table", scatter: "scatter-table",
  multiples: "multiples-table", bump: "bump-table", agreement: "agreement-table",
};

function start() {
  for (const node of document.querySelectorAll("#bar, #explorer, .scripted")) node.hidden = false;
  makeBar();
  makeMatrix();
  makeHeatMap();
  makeScatter();
  makeMultiples();
  makeBump();
  makeRoving(byId("bump"), () => byLastRank().map((a) => [bump.lines[a].group]),
    { point: (group) => pointAtAttribute(bump.lines.findIndex((parts) => parts.group === group)) });
  makeTour();
  for (const details of document.querySelectorAll("#explorer details")) details.addEventListener("toggle", draw);
  addEventListener("hashchange", () => update(fragmentState()));
  for (const query of ["print", "(prefers-color-scheme: dark)"]) matchMedia(query).addEventListener("change", draw);
  addEventListener("resize", () => {
    if (bumpWidth() === bump.width) return;
    makeBump();
    drawBump();
    drawAgreement();
  });
  Object.assign(state, fragmentState());
  draw();
  for (const [id, rows] of Object.entries(SAVED)) {
    const pictures = () => [...byId(id).querySelectorAll(":scope > svg, table, button > svg")];
    addDownloads(byId(id).parentElement, id, pictures, typeof rows === "string" ? () => tables.get(rows)() : rows);
  }
}

start();
