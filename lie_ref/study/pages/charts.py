"""Draws charts in SVG: a frame with two axes, and the lines, bands and dots in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, ClassVar

import numpy as np

Values = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic axis from `low` to `high`."""

    low: float
    high: float
    logarithmic: bool = False

    @classmethod
    def around(cls, values: Values, logarithmic: bool = False) -> Axis:
        """The axis that shows all of the values, which are positive if it is logarithmic, with a little room."""
        scale, back = (np.log, np.exp) if logarithmic else (np.asarray, np.asarray)
        low, high = scale(np.min(values)), scale(np.max(values))
        room = 0.06 * (high - low) or 0.01 + 0.01 * abs(high)
        return cls(float(back(low - room)), float(back(high + room)), logarithmic)

    def share(self, values: Any) -> Any:
        """The places of the values: 0 at `low`, 1 at `high`, and 0.5 if the two are equal.

        >>> Axis(1, 100).share(np.array([1, 100])).tolist(), float(Axis(1, 100, logarithmic=True).share(10))
        ([0.0, 1.0], 0.5)
        """
        low, high, at = map(np.log if self.logarithmic else np.asarray, (self.low, self.high, values))
        return (at - low) / (high - low) if high > low else at * 0 + 0.5

    def ticks(self) -> list[float]:
        """Three to six round values; for a logarithmic axis powers of ten, and values between them if it is short.

        >>> Axis(-0.1, 2.3).ticks(), Axis(0.15, 1.2, logarithmic=True).ticks()
        ([0.0, 1.0, 2.0], [0.2, 0.3, 0.5, 0.7, 1.0])
        >>> Axis(0.15, 12, logarithmic=True).ticks(), Axis(2e-6, 0.2, logarithmic=True).ticks()
        ([0.2, 0.5, 1.0, 2.0, 5.0, 10.0], [1e-05, 0.0001, 0.001, 0.01, 0.1])
        """
        if self.logarithmic:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            digits = (1, 2, 3, 5, 7) if self.high < 10 * self.low else (1, 2, 5) if self.high < 100 * self.low else (1,)
            values = [float(f"{digit}e{decade}") for decade in decades for digit in digits]
            return [value for value in values if self.low <= value <= self.high]
        length = self.high - self.low
        unit = 10.0 ** math.floor(math.log10(length / 2))
        step = next((factor * unit for factor in (5, 2) if length >= 2.5 * factor * unit), unit)
        return [step * k for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


@dataclass(frozen=True)
class Chart:
    """A chart with these axes.  `kind` is its class in the style sheet."""

    x: Axis
    y: Axis
    width: ClassVar[int] = 560  # of the frame, in units of the drawing
    height: ClassVar[int] = 240
    row: ClassVar[int] = 24  # height of a line of text
    kind: ClassVar[str] = "chart"

    def _points(self, x: Values, y: Values) -> str:
        across, down = self.width * self.x.share(x), self.height * (1 - self.y.share(y))
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, down, strict=True))

    def line(self, kind: str, x: Values, y: Values) -> str:
        """A line through the points."""
        return f'<polyline class="{kind}" points="{self._points(x, y)}"/>'

    def band(self, kind: str, x: Values, low: Values, high: Values) -> str:
        """The area between two lines."""
        return f'<polygon class="band {kind}" points="{self._points(x, low)} {self._points(x[::-1], high[::-1])}"/>'

    def dots(self, kind: str, x: Values, y: Values) -> str:
        """All points as one path of zero-length strokes with round caps, a tenth of the size of separate circles."""
        return f'<path class="{kind}" d="{"".join(f"M{point}h0" for point in self._points(x, y).split())}"/>'

    def draw(self, label: str, across: str, ticks: Mapping[float, str], marks: Sequence[str], up: str = "") -> str:
        """The whole chart.  `ticks` maps values on the horizontal axis to labels; `across` and `up` are axis titles."""
        left, below, grid, texts = 104 if up else 52, self.height + 2 * self.row, "", ""
        for value in self.y.ticks():
            y = self.height * (1 - self.y.share(value))
            grid += f"M0 {y:.1f}H{self.width}"
            texts += f'<text x="-8" y="{y:.1f}" dy=".35em" class="end">{value:.6g}</text>'
        for value, text in ticks.items():
            x = self.width * self.x.share(value)
            texts += f'<text x="{x:.1f}" y="{self.height + self.row}" class="middle">{text}</text>'
        return (
            f'<svg class="{self.kind}" viewBox="{-left} -10 {left + self.width + 22} {below + 16}" role="img" '
            f'aria-label="{escape(label)}"><path d="M0 0H{self.width}V{self.height}H0Z{grid}"/>{texts}'
            f'<text x="{self.width / 2}" y="{below}" class="middle">{escape(across)}</text>'
            f'<text transform="translate({18 - left} {self.height / 2}) rotate(-90)" class="middle">{escape(up)}</text>'
            f"{''.join(marks)}</svg>"
        )


class SmallChart(Chart):
    """A chart that shares its row with others."""

    width, height, row, kind = 300, 170, 18, "chart small-chart"
