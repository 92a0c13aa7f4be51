"""Shows in half a minute what lie_ref does: each step is a sentence, the Python that does it, and what it prints."""

from pathlib import Path

STEPS = (
    (
        "A small network, and two training examples with opposite labels.",
        """
import numpy as np, lie_ref
model = lie_ref.mlp([2, 8, 1], activation="tanh")
params, buffers = model.init(seed=0)
x, y = np.array([[1.0, 0.0], [0.5, 1.0]]), np.array([[1.0], [0.0]])
""",
    ),
    (
        "Their Lie bracket, exactly, by two Hessian-vector products: H_y g_x - H_x g_y.",
        """
bracket = lie_ref.brackets(model, params, buffers, x, y, pairs=[(0, 1)])
print("norm of the bracket:", round(np.sqrt(sum((b**2).sum() for b in bracket.values())), 4))
""",
    ),
    (
        "Two steps in either order end in different places, by the bracket times the squared step size.",
        """
def step(theta, i, epsilon):
    g = lie_ref.gradients(model, theta, buffers, x[i : i + 1], y[i : i + 1])
    return {name: theta[name] - epsilon * g[name][0] for name in theta}
for epsilon in (0.1, 0.01, 0.001):
    xy, yx = step(step(params, 0, epsilon), 1, epsilon), step(step(params, 1, epsilon), 0, epsilon)
    errors = [abs((xy[name] - yx[name]) / epsilon**2 - bracket[name][0]).max() for name in params]
    print(f"step size {epsilon:g}: swap / step² differs from the bracket by {max(errors):.0e}")
""",
    ),
    (
        "Is somebody's bracket right?  The check needs no second derivatives, only the gradient; this one is right.",
        """
def gradient(theta, i):
    g = lie_ref.gradients(model, theta, buffers, x[i : i + 1], y[i : i + 1])
    return {name: a[0] for name, a in g.items()}
def right(theta, i, j):
    return {name: b[0] for name, b in lie_ref.brackets(model, theta, buffers, x, y, pairs=[(i, j)]).items()}
verdict = lie_ref.check(gradient, params, {"bracket": right}, pairs=[(0, 1)])
print("agrees:", verdict.agrees, f"to {verdict.decided:.0f} digits")
""",
    ),
    (
        "This one returns the bracket of the two examples the other way round.",
        """
def wrong(theta, i, j):
    return right(theta, j, i)
verdict = lie_ref.check(gradient, params, {"bracket": wrong}, pairs=[(0, 1)])
print("agrees:", verdict.agrees, "- it looks like", " or ".join(bug.name for bug in verdict.diagnosis))
""",
    ),
    (
        "A convolutional network that learns 40 attributes of synthetic faces, with brackets at steps 0 and 10.",
        """
from lie_ref.experiment.run import run_experiment
from lie_ref.experiment.settings import Settings
from lie_ref.machine.workers import workers
with workers() as executor:
    page = run_experiment(Settings(faces=400, size=24, steps=10), out, cache, force=True, executor=executor)
print("page:", page)
""",
    ),
)


def demo(out: Path, cache: Path) -> None:
    """Do all steps; the folder `out` is for the page, and `cache` for the faces."""
    names = {"out": out, "cache": cache}
    for number, (words, code) in enumerate(STEPS, start=1):
        print(f"\n{number}. {words}\n")
        print("\n".join(f"    {line}" for line in code.strip().splitlines()) + "\n", flush=True)
        exec(compile(code, f"step {number}", "exec"), names)
