"""What is said of the races: lines of a table, each with its goal, and remarks below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from .race import TOLERANCE, Result

Results = dict[str, Result]  # label → result; the first is what the others are compared with
HEADER = ("work", "lie_ref", "torch", "jax", "goal", "")


@dataclass(frozen=True)
class Line:
    """A line of the table; `met` is None where there is no goal or nothing to hold against it."""

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
    """The lines in columns, a heading above them."""
    cells = [HEADER, *(line.cells for line in lines)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)


def spread(values: Sequence[float]) -> str:
    """Median, least and largest, in three digits."""
    return f"{median(values):.3g} [{min(values):.3g} … {max(values):.3g}]"


def ratio_lines(results: Results, work: str, goals: dict[str, float], memory: int | None = None) -> list[Line]:
    """lie_ref's median against at most so many times each peer's; its peak memory against so many MiB."""
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
        met_too = ours.memory[1] <= memory
        lines.append(Line(f"{work}: peak memory", **peaks, goal=f"≤ {memory} MiB", met=met_too))
    return lines


def norms_lines(results: Results, work: str, flat: float, bounded: float) -> list[Line]:
    """Seconds a bracket and peak memory above the start for each n, and how much they depend on it.

    Memory bounded by a budget does not grow with n once it is spent; n² would be 4 for twice the n.
    """
    medians = [median(result.totals) for result in results.values()]
    memory = [result.memory[1] - result.memory[0] for result in results.values()]
    lines = [
        Line(f"{work}, {label}: a bracket", f"{spread(result.totals)}, {mib:.0f} MiB")
        for (label, result), mib in zip(results.items(), memory, strict=True)
    ]
    slowest, growth = max(medians) / min(medians), memory[-1] / memory[-2]
    met = slowest <= flat and all(map(agree, results.values()))
    lines.append(Line("    slowest n / fastest n", f"{slowest:.2f}", goal=f"≤ {flat}", met=met))
    spent = len(results) > 2  # for smaller n the budget is not spent, and memory may well grow
    goal, met = (f"≤ {bounded}", growth <= bounded) if spent else ("", None)
    lines.append(Line("    memory, last n / last but one", f"{growth:.2f}", goal=goal, met=met))
    return lines


def score_lines(results: Results, work: str, seconds: float, bounded: float) -> list[Line]:
    """Seconds and peak memory above the start for each n; the most examples within so many seconds, in no more memory.

    Memory is bounded by the batch if that of the last n is at most `bounded` times that of the one before.
    """
    memory = [result.memory[1] - result.memory[0] for result in results.values()]
    cells = [f"{spread(result.totals)}, {mib:.0f} MiB" for result, mib in zip(results.values(), memory, strict=True)]
    names = [f"{work}, {label}" for label in results]
    lines = [Line(name, cell) for name, cell in zip(names[:-1], cells[:-1], strict=True)]
    met = median(list(results.values())[-1].totals) <= seconds and all(map(agree, results.values()))
    lines.append(Line(names[-1], cells[-1], goal=f"≤ {seconds:g} s", met=met))
    growth = memory[-1] / memory[-2]
    lines.append(Line("    memory, last n / last but one", f"{growth:.2f}", goal=f"≤ {bounded}", met=growth <= bounded))
    return lines


def share_lines(results: Results, work: str, flops: int, goal: float) -> list[Line]:
    """The seconds that the products would take alone, relative to those of `evaluate` in the same round.

    The goal is for NumPy's own products; the share of lie_ref's, which are faster, is given as well.
    """
    seconds = results["lie_ref"].seconds
    shares = {
        way: [a / b for a, b in zip(seconds[way][""], seconds["evaluate"][""], strict=True)]
        for way in ("by matmul", "in pieces")
    }
    met = median(shares["by matmul"]) >= goal
    return [
        Line(f"{work} of np.matmul, {flops / 1e9:.1f} GFLOP", spread(shares["by matmul"]), goal=f"≥ {goal}", met=met),
        Line("    of the products in pieces", spread(shares["in pieces"])),
    ]


def remarks(name: str, results: Results) -> list[str]:
    """Who is missing, whether results agree, what each way took where there are several, how long compilation took."""
    found = []
    for k, (label, result) in enumerate(results.items()):
        words = []
        if result.missing:
            words.append(f"skipped: {result.missing}")
        elif k > 0:
            words.append(f"results {'agree' if agree(result) else 'DISAGREE'} ({result.disagreement:.0e})")
        for part, ways in result.seconds.items():
            if len(ways) > 1:
                times = sorted((median(seconds), way) for way, seconds in ways.items())
                words.append(f"{part} " + ", ".join(f"{way} {seconds:.3g} s" for seconds, way in times))
        if label == "jax" and not result.missing:
            first = sum(result.first[part][way] for part, way in result.best.items())
            words.append(f"first calls {first:.1f} s, with compilation")
        if words:
            found.append(f"{name}: {label}: {'; '.join(words)}")
    return found


def agree(result: Result) -> bool:
    """Whether the results are the first contestant's, but for rounding; nan is not."""
    return result.disagreement <= TOLERANCE
