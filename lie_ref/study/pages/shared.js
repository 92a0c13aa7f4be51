// What both pages do: figures can be saved as SVG or PNG and their numbers as CSV, and a table that scrolls says so.
"use strict";

// What a style sheet decides. A copy has its places already, also of points that still glide there.
const COPIED = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "stroke-linecap",
  "stroke-linejoin", "font-family", "font-size", "font-weight", "text-anchor", "opacity", "display"];
const SPACE = "http://www.w3.org/2000/svg";

/** A copy of an SVG element that needs no style sheet. */
function standalone(picture) {
  const copy = picture.cloneNode(true);
  const [nodes, twins] = [picture, copy].map((of) => [of, ...of.querySelectorAll("*")]);
  nodes.forEach((node, k) => {
    const style = getComputedStyle(node);
    for (const name of COPIED) twins[k].style.setProperty(name, style.getPropertyValue(name));
  });
  const [x, y, width, height] = picture.getAttribute("viewBox").split(" ").map(Number);
  return framed(copy, x, y, width, height);
}

/** An SVG drawing of a table: its cells' backgrounds, texts and pictures where the browser has put them. */
function drawing(table) {
  const picture = document.createElementNS(SPACE, "svg");
  const frame = table.getBoundingClientRect();
  const add = (tag, attributes, text = "") => {
    const node = document.createElementNS(SPACE, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.textContent = text;
    picture.append(node);
  };
  const place = (node) => {
    const { left, top, width, height } = node.getBoundingClientRect();
    return { x: left - frame.left, y: top - frame.top, width, height };
  };
  for (const cell of table.querySelectorAll("th, td")) {
    add("rect", { ...place(cell), fill: getComputedStyle(cell).backgroundColor });
    for (const image of cell.querySelectorAll("img")) add("image", { ...place(image), href: image.src });
    const lines = cell.innerText.trim().split("\n").filter(Boolean);
    const holder = cell.querySelector("span") ?? cell;
    const { x, y, width, height } = place(holder);
    const style = getComputedStyle(holder);
    const upright = style.writingMode.startsWith("vertical");
    lines.forEach((text, k) => {
      const [middle, line] = [x + width / 2, y + height / 2 + 4 + 16 * (k - (lines.length - 1) / 2)];
      add("text", {
        transform: upright ? `translate(${middle + 4} ${y + height}) rotate(-90)` : `translate(${middle} ${line})`,
        fill: style.color, "font-size": style.fontSize, "font-family": style.fontFamily,
        "font-weight": style.fontWeight, "text-anchor": upright ? "start" : "middle",
      }, text);
    });
  }
  return framed(picture, 0, 0, frame.width, frame.height);
}

/** The picture with this view and size, on the colour of the page. */
function framed(picture, x, y, width, height) {
  const paper = document.createElementNS(SPACE, "rect");
  const fill = getComputedStyle(document.body).backgroundColor;
  for (const [name, value] of Object.entries({ x, y, width, height, fill })) paper.setAttribute(name, value);
  picture.prepend(paper);
  const box = { xmlns: SPACE, viewBox: `${x} ${y} ${width} ${height}`, width, height };
  for (const [name, value] of Object.entries(box)) picture.setAttribute(name, value);
  return picture;
}

/** One picture with all of them, one below the other, each under its title. */
function joined(pictures, titles) {
  if (pictures.length === 1) return pictures[0];
  const whole = document.createElementNS(SPACE, "svg");
  const { color, fontFamily } = getComputedStyle(document.body);
  let y = 0;
  pictures.forEach((picture, k) => {
    const title = document.createElementNS(SPACE, "text");
    title.textContent = titles[k];
    for (const [name, value] of Object.entries({ x: 4, y: y + 16, fill: color, "font-family": fontFamily, "font-size": 13 })) {
      title.setAttribute(name, value);
    }
    picture.setAttribute("y", y + 22);
    y += 22 + Number(picture.getAttribute("height"));
    whole.append(title, picture);
  });
  return framed(whole, 0, 0, Math.max(...pictures.map((picture) => Number(picture.getAttribute("width")))), y);
}

function save(name, type, parts) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const toText = (picture) => new XMLSerializer().serializeToString(picture);

/** Save the picture as PNG, with two pixels for each unit of its drawing. */
function savePng(name, picture) {
  const image = new Image();
  image.onload = () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [2 * image.width, 2 * image.height];
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => save(name, "image/png", [blob]));
  };
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(toText(picture))}`;
}

/** The texts of a table's rows. */
const textsOf = (table) => [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent));

/** Rows of texts as CSV (RFC 4180), with a minus sign that programs read. */
function csv(rows) {
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return rows.map((row) => row.map((text) => quoted(text.replaceAll("−", "-"))).join(",") + "\r\n").join("");
}

/**
 * Put the buttons into `box`. `pictures()` returns the SVG elements or tables that are shown, `rows()` the texts of the
 * numbers; `name` begins the names of the files.
 */
function addDownloads(box, name, pictures, rows) {
  const line = document.createElement("p");
  line.className = "downloads";
  const button = (label, what, save) => {
    const node = document.createElement("button");
    node.type = "button";
    node.textContent = label;
    node.setAttribute("aria-label", `Save ${what} as ${label}: ${name}`);
    node.addEventListener("click", save);
    line.append(" ", node);
  };
  const picture = () => joined(pictures().map((of) => of instanceof SVGElement ? standalone(of) : drawing(of)),
    pictures().map((of) => of.getAttribute("aria-label") ?? of.parentElement.querySelector("b").textContent));
  line.append("Save:");
  if (pictures().length) {
    button("SVG", "picture", () => save(`${name}.svg`, "image/svg+xml", [toText(picture())]));
    button("PNG", "picture", () => savePng(`${name}.png`, picture()));
  }
  button("CSV", "numbers", () => save(`${name}.csv`, "text/csv", [csv(rows())]));
  box.append(line);
}

// Tables that are wider than their box
const watcher = new ResizeObserver((entries) => entries.forEach(({ target }) =>
  target.classList.toggle("overflowing", target.scrollWidth > target.clientWidth + 1)));
for (const box of document.querySelectorAll(".scroll")) watcher.observe(box);

// Static figures: an element with `data-figure` names its files, and has its pictures and its table inside
for (const figure of document.querySelectorAll("[data-figure]")) {
  const pictures = [...figure.querySelectorAll("svg")];
  const table = figure.querySelector("table");
  addDownloads(figure, figure.dataset.figure, () => pictures, () => textsOf(table));
}
