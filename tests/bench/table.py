"""The printed report: a table with a goal in each line, and remarks below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from .race import TOLERANCE, Result

Results = dict[str, Result]  # label → result; the others are compared with the first
HEADER = ("work", "lie_ref", "torch", "jax", "goal", "")


@dataclass(frozen=True)
class Line:
    """A line of the table; `met` is None if there is no goal or nothing was measured for it."""

    work: str
    lie_ref: str
    torch: str = ""
    jax: str = ""
    goal: str = ""
    met: bool | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        verdict = {True: "met", False: "NOT MET", None: "not measured" if self.goal else ""}[self.met]
        return self.work, self.lie_ref, self.torch, self.jax, self.goal, verdict


def table(lines: Sequence[Line]) -> str:
    """The lines in columns below a heading."""
    cells = [HEADER, *(line.cells for line in lines)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)


def spread(values: Sequence[float]) -> str:
    """Median, smallest and largest value, with three digits."""
    return f"{median(values):.3g} [{min(values):.3g} … {max(values):.3g}]"


def ratio_lines(results: Results, work: str, goals: dict[str, float], memory: int | None = None) -> list[Line]:
    """lie_ref's median, the goal a multiple of each peer's; with `memory`, its peak memory, the goal in MiB."""
    ours, cells, met = results["lie_ref"], {}, []
    for peer, goal in goals.items():
        theirs = results[peer]
        if theirs.missing:
            cells[peer] = "skipped"
            continue
        ratio = median(ours.totals) / median(theirs.totals)
        cells[peer] = f"{spread(theirs.totals)}, ×{ratio:.2f}"
        met.append(ratio <= goal and agree(theirs))
    words = ", ".join(f"≤ {goal} × {peer}" for peer, goal in goals.items())
    verdict = None if all(met) and len(met) < len(goals) else all(met)
    lines = [Line(work, spread(ours.totals), goal=words, met=verdict, **cells)]
    if memory:
        peaks = {label: f"{result.memory[1]:.0f} MiB" for label, result in results.items() if not result.missing}
        lines.append(Line(f"{work}: peak memory", **peaks, goal=f"≤ {memory} MiB", met=ours.memory[1] <= memory))
    return lines


def seconds_and_memory(results: Results) -> tuple[list[str], float]:
    """Cells with seconds and peak memory above the start for each n, and the last memory relative to the one before."""
    memory = [result.memory[1] - result.memory[0] for result in results.values()]
    cells = [f"{spread(result.totals)}, {mib:.0f} MiB" for result, mib in zip(results.values(), memory, strict=True)]
    return cells, memory[-1] / memory[-2]


def norms_lines(results: Results, work: str, flat: float, bounded: float) -> list[Line]:
    """Seconds per bracket and memory for each n, and how much both depend on n.

    Doubling n quadruples memory that grows with n²; memory within a budget stops growing once the budget is spent.
    """
    medians = [median(result.totals) for result in results.values()]
    cells, growth = seconds_and_memory(results)
    lines = [Line(f"{work}, {label}: a bracket", cell) for label, cell in zip(results, cells, strict=True)]
    slowest = max(medians) / min(medians)
    met = slowest <= flat and all(map(agree, results.values()))
    lines.append(Line("    slowest n / fastest n", f"{slowest:.2f}", goal=f"≤ {flat}", met=met))
    spent = len(results) > 2  # a smaller n does not spend the budget, so memory may grow
    goal, met = (f"≤ {bounded}", growth <= bounded) if spent else ("", None)
    lines.append(Line("    memory, last n / last but one", f"{growth:.2f}", goal=goal, met=met))
    return lines


def score_lines(results: Results, work: str, seconds: float, bounded: float) -> list[Line]:
    """Seconds and memory for each n, with a goal for the seconds of the last n and for the growth of memory."""
    cells, growth = seconds_and_memory(results)
    *lines, last = (Line(f"{work}, {label}", cell) for label, cell in zip(results, cells, strict=True))
    met = median(list(results.values())[-1].totals) <= seconds and all(map(agree, results.values()))
    lines.append(replace(last, goal=f"≤ {seconds:g} s", met=met))
    lines.append(Line("    memory, last n / last but one", f"{growth:.2f}", goal=f"≤ {bounded}", met=growth <= bounded))
    return lines


def share_lines(results: Results, work: str, flops: int, goal: float) -> list[Line]:
    """The seconds of the products alone, relative to those of `evaluate` in the same round.

    The goal is for NumPy's products; lie_ref's own are faster and have no goal.
    """
    seconds = {part: variants[""] for part, variants in results["lie_ref"].seconds.items()}
    by_matmul, in_pieces = (
        [a / b for a, b in zip(seconds[part], seconds["evaluate"], strict=True)] for part in ("by matmul", "in pieces")
    )
    name, met = f"{work} of np.matmul, {flops / 1e9:.1f} GFLOP", median(by_matmul) >= goal
    own = Line("    of the products in pieces", spread(in_pieces))
    return [Line(name, spread(by_matmul), goal=f"≥ {goal}", met=met), own]


def remarks(name: str, results: Results) -> list[str]:
    """Missing contestants, agreement of the results, times of the variants, and the time of JAX's first calls."""
    found = []
    for k, (label, result) in enumerate(results.items()):
        words = []
        if result.missing:
            words.append(f"skipped: {result.missing}")
        elif k > 0:
            words.append(f"results {'agree' if agree(result) else 'DISAGREE'} ({result.disagreement:.0e})")
        for part, variants in result.seconds.items():
            if len(variants) > 1:
                times = sorted((median(seconds), variant) for variant, seconds in variants.items())
                words.append(f"{part} " + ", ".join(f"{variant} {seconds:.3g} s" for seconds, variant in times))
        if label == "jax" and not result.missing:
            first = sum(result.first[part][variant] for part, variant in result.best.items())
            words.append(f"first calls {first:.1f} s, including compilation")
        if words:
            found.append(f"{name}: {label}: {'; '.join(words)}")
    return found


def agree(result: Result) -> bool:
    """Whether the results are those of the first contestant, up to rounding; nan never is."""
    return result.disagreement <= TOLERANCE
