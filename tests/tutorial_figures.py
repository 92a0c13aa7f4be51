"""Draws the three figures of the tutorial in `lie_ref/core/README.md`, each from the numbers that its code computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

import lie_ref
from lie_ref.images.labels import ATTRIBUTES, sample_attributes
from lie_ref.images.painter import draw_face
from lie_ref.study.pages.markup import thumbnails

Point = np.ndarray
Field = Callable[[Point], Point]
COLOURS = {"first": "#0b62b8", "then": "#c2410c", "gap": "#8a4bb8"}
STYLE = (
    """
svg { font: 13px system-ui, sans-serif; --ink: #1b2126; --soft: #5d676f; --line: #dde2e6; }
@media (prefers-color-scheme: dark) { svg { --ink: #e8ecef; --soft: #a3aeb6; --line: #31393f; } }
text { fill: var(--soft); } .middle { text-anchor: middle; } .end { text-anchor: end; }
path { stroke: var(--line); } path.way { stroke-width: 3; } path.thin { opacity: .6; }
circle.start { fill: var(--ink); }
"""
    + "".join(
        f".{name} {{ stroke: {colour}; fill: {colour}; }} text.{name} {{ stroke: none; }}\n"
        for name, colour in COLOURS.items()
    )
    + "path[class] { fill: none; }"
)
WIDTH, HEIGHT, LEGEND = 460, 340, 22


class Plane:
    """A drawing of a rectangle of the plane, in units of which `unit` fit into a hundred pixels."""

    def __init__(self, left: float, low: float, unit: float) -> None:
        self.left, self.low, self.unit = left, low, unit
        self.marks: list[str] = []

    def place(self, point: Sequence[float] | Point) -> tuple[float, float]:
        return 100 / self.unit * (point[0] - self.left), HEIGHT - 100 / self.unit * (point[1] - self.low)

    def way(self, kind: str, *points: Point, width: str = "way") -> None:
        places = "L".join(f"{x:.1f} {y:.1f}" for x, y in map(self.place, points))
        self.marks.append(f'<path class="{kind} {width}" d="M{places}"/>')

    def arrow(self, kind: str, start: Point, end: Point) -> None:
        """A line with a head of two short strokes."""
        (x0, y0), (x1, y1) = self.place(start), self.place(end)
        angle = math.atan2(y1 - y0, x1 - x0)
        heads = [(x1 - 6 * math.cos(angle + turn), y1 - 6 * math.sin(angle + turn)) for turn in (0.45, -0.45)]
        strokes = "".join(f"M{x:.1f} {y:.1f}L{x1:.1f} {y1:.1f}" for x, y in heads)
        self.marks.append(f'<path class="{kind} thin" d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}{strokes}"/>')

    def dot(self, kind: str, point: Point) -> None:
        x, y = self.place(point)
        self.marks.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')

    def square(self, start: Point, first: Field, then: Field, epsilon: float) -> None:
        """The steps along both fields in either order, and the gap between their ends."""
        ways = {}
        for kind, order in (("first", (first, then)), ("then", (then, first))):
            points = [start]
            for field in order:
                points.append(points[-1] + epsilon * field(points[-1]))
            self.way(kind, *points)
            ways[kind] = points
        self.way("gap", ways["first"][-1], ways["then"][-1])
        for kind, points in ways.items():
            self.dot(kind, points[-1])
        self.dot("start", start)


def picture(marks: Sequence[str], legend: dict[str, str], width: int = WIDTH) -> str:
    """The marks, and below them what each colour means."""
    words = "".join(
        f'<text class="{kind}" x="20" y="{HEIGHT + LEGEND * (row + 0.6):.0f}">{text}</text>'
        for row, (kind, text) in enumerate(legend.items())
    )
    height = HEIGHT + LEGEND * len(legend)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">'
    return f"{head}<style>{STYLE}</style>{''.join(marks)}{words}</svg>\n"


def two_fields() -> str:
    """Arrows of a rotation and a stretch, and a square of long steps that does not close."""
    turn, stretch = (lambda t: np.array([-t[1], t[0]])), (lambda t: np.array([t[0], 0.0]))
    plane = Plane(-0.2, -0.2, 0.95)
    for x in np.arange(0.25, 4.0, 0.5):
        for y in np.arange(0.25, 3.0, 0.5):
            for kind, field in (("first", turn), ("then", stretch)):
                plane.arrow(kind, np.array([x, y]), np.array([x, y]) + 0.12 * field(np.array([x, y])))
    plane.square(np.array([2.0, 1.0]), turn, stretch, 0.5)
    legend = {"first": "turn; thick: turn, then stretch", "then": "stretch; thick: stretch, then turn"}
    return picture(plane.marks, legend | {"gap": "the gap: ε² times the bracket, for small ε"})


ORDERS = (("first", "x", "y"), ("then", "y", "x"))


def two_bowls() -> str:
    """Lines of equal loss of two bowls, and two gradient steps in either order."""
    bowls = {
        "first": (np.array([[3.0, 1.0], [1.0, 1.0]]), np.zeros(2)),
        "then": (np.array([[1.0, 0.0], [0.0, 4.0]]), np.ones(2)),
    }
    plane, fields = Plane(-1.6, -1.5, 1.15), []
    angles = np.linspace(0, 2 * np.pi, 90)
    for kind, (hessian, centre) in bowls.items():
        values, vectors = np.linalg.eigh(hessian)
        for level in (0.4, 1.2, 2.4):
            axes = np.sqrt(2 * level / values)
            ring = centre + np.stack([axes[0] * np.cos(angles), axes[1] * np.sin(angles)], axis=1) @ vectors.T
            plane.way(kind, *ring, width="thin")
        fields.append(lambda t, hessian=hessian, centre=centre: -hessian @ (t - centre))
    plane.square(np.array([2.0, -1.0]), *fields, 0.12)
    legend = {name: f"loss of {a}; thick: a step on {a}, then one on {b}" for name, a, b in ORDERS}
    return picture(plane.marks, legend | {"gap": "the gap"})


def two_faces() -> str:
    """Three faces, and the largest changes of logits of the third: as the bracket predicts, and by real steps."""
    labels = sample_attributes(3, seed=0)
    pixels = np.stack([draw_face(label, seed=0, index=n) for n, label in enumerate(labels)])
    x, y = pixels.transpose(0, 3, 1, 2) / 127.5 - 1, labels.astype(float)
    model, epsilon = lie_ref.preset("mxresnet-tiny"), 1e-4
    params, buffers = model.init(seed=0)

    def after(*order: int) -> np.ndarray:
        theta = params
        for n in order:
            g = lie_ref.gradients(model, theta, buffers, x[n : n + 1], y[n : n + 1])
            theta = {name: t - epsilon * g[name][0] for name, t in theta.items()}
        return np.asarray(model.apply(theta, buffers, x[2:])[0])

    bracket = lie_ref.brackets(model, params, buffers, x[:2], y[:2], pairs=[(0, 1)])
    predicted = lie_ref.push_forward(model, params, buffers, x[2:], bracket)[0, 0]
    real = (after(0, 1) - after(1, 0)) / epsilon**2
    most = np.argsort(-np.abs(predicted))[:8]
    scale, middle = 110 / np.abs(predicted).max(), 450
    marks: list[str] = []
    for n, (face, words) in enumerate(zip(thumbnails(x), ("first", "then", "what changes"), strict=True)):
        marks.append(f'<image href="{face}" x="20" y="{30 + 100 * n}" width="80" height="80"/>')
        marks.append(f'<text x="60" y="{24 + 100 * n}" class="middle">{words}</text>')
    marks.append(f'<path d="M{middle} 20V{28 + 36 * len(most)}"/>')
    for row, k in enumerate(most):
        top = 34 + 36 * row
        marks.append(f'<text x="{middle - 130}" y="{top + 12}" class="end">{ATTRIBUTES[k].replace("_", " ")}</text>')
        for kind, value, down in (("first", predicted[k], 0), ("then", real[k], 11)):
            start, width = middle + min(0.0, scale * value), abs(scale * value)
            marks.append(f'<rect class="{kind}" x="{start:.1f}" y="{top + down}" width="{width:.1f}" height="8"/>')
    legend = {"first": "change of a logit over ε², by the bracket", "then": f"by real steps, ε = {epsilon:g}"}
    return picture(marks, legend, 580)


FIGURES = {"two-fields.svg": two_fields, "two-bowls.svg": two_bowls, "two-faces.svg": two_faces}
