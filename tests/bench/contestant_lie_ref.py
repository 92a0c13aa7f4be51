"""lie_ref at work, set up as its command line sets itself up."""

from __future__ import annotations

from collections.abc import Callable

import lie_ref
from lie_ref.derivatives import training_gradients
from lie_ref.process import keep_freed_memory, use_one_blas_thread
from lie_ref.training import Adam

from .flops import product_seconds
from .work import Arrays, Part, parts_of_training, problem, step_results

use_one_blas_thread()
keep_freed_memory()


def evaluation(preset: str, inputs: int, examples: int, share: bool = False) -> dict[str, Part]:
    """`evaluate`; with `share`, also how long its matrix products would take alone."""
    p = problem(preset, inputs)

    def evaluate() -> Arrays:
        ev = lie_ref.evaluate(p.model, p.params, p.buffers, p.x, p.y, examples)
        gradients = {f"gradient/{name}": g for name, g in ev.gradients.items()}
        brackets = {f"bracket/{name}": b for name, b in ev.brackets.items()}
        return gradients | brackets | {"logits": ev.logits, "logit_delta": ev.logit_delta}

    parts = {"evaluate": Part({"": evaluate})}
    if share:
        parts["products"] = Part({"": lambda: product_seconds(p.model, examples, inputs)})
    return parts


def bracket(preset: str) -> dict[str, Part]:
    """One bracket."""
    p = problem(preset, 2)

    def one() -> Arrays:
        found = lie_ref.brackets(p.model, p.params, p.buffers, p.x, p.y, [(0, 1)])
        return {f"bracket/{name}": b for name, b in found.items()}

    return {"bracket": Part({"": one})}


def norms(preset: str, n: int, shown: int) -> dict[str, Part]:
    """`bracket_norms` of all pairs among n examples, a bracket's share of the time; as results, those of the first."""
    p = problem(preset, n)

    def all_pairs() -> Arrays:
        return {"norms": lie_ref.bracket_norms(p.model, p.params, p.buffers, p.x, p.y)[:shown, :shown]}

    return {"norms": Part({"": all_pairs}, times=n * (n - 1) // 2)}


def training(preset: str, batch: int, steps: int, lr: float, betas: tuple[float, float]) -> dict[str, Part]:
    """Training steps with Adam."""

    def trainer(dtype: type, _: None) -> Callable[[int], Arrays]:
        p = problem(preset, batch, dtype)
        adam, buffers = Adam(p.params, lr, betas), p.buffers

        def advance(steps: int) -> Arrays:
            nonlocal buffers
            for _ in range(steps):
                loss, grads, buffers = training_gradients(p.model, p.params, buffers, p.x, p.y)
                adam.step(p.params, grads)
            return step_results(loss, gradient=grads, param=p.params, buffer=buffers)

        return advance

    return parts_of_training(trainer, steps, **{"": None})
