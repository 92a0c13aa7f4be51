"""The neural tangent kernel of a network at given weights, and how fast it changes in training.

Θ(x, x') = J(x) J(x')ᵀ, where J is the Jacobian of the logits with respect to all parameters (Jacot et al. 2018) and
batch-norm is in evaluation mode.  It says how a small gradient step on x' moves the logits of x.  The velocity of the
kernel is defined by Fort et al. 2020; Paul et al. 2021 compare it between easy and hard examples.
"""

from dataclasses import replace

import numpy as np

from ..core.losses import LossFunction
from ..core.networks import Model
from ..core.types import Array, Arrays
from ..fast import engine
from ..fast.arguments import as_array, checked_model, checked_problem
from ..fast.norms import row_norms
from .derivatives import BUDGET

# Its gradient at a one-hot y is a row of J, because ∂L/∂z = y.
LOGIT = LossFunction(definition=lambda z, y: (z * y).sum(axis=-1), name="logit")


def ntk(model: Model, params: Arrays, buffers: Arrays, x: Array) -> Array:
    """The kernel of examples x (n, …): Θ[i, a, j, b] = ∇_θ z_a(x_i) · ∇_θ z_b(x_j), (n, k, n, k) for k logits.

    It has the dtype of the parameters.  At most three blocks of rows of J are in memory at a time, each of at most
    `derivatives.BUDGET` numbers or one row.  Raises ValueError or TypeError as `lie_ref.gradients` does.

    >>> from lie_ref import mlp
    >>> model = mlp([2, 1])  # z = w · x + b
    >>> ntk(model, *model.init(0), np.array([[1.0, 2.0], [0.0, 3.0]]))[:, 0, :, 0]
    array([[ 6.,  7.],
           [ 7., 10.]])
    """
    zeros = np.zeros((*as_array("x", x).shape[:1], checked_model(model).n_out))
    problem = checked_problem(model, params, buffers, x, zeros, loss=LOGIT, batches=False)
    x = problem.x
    examples, outputs = np.divmod(np.arange(len(x) * model.n_out), model.n_out)

    def jacobian(some: slice) -> Array:
        """Rows of J, one for each logit of each example: (rows, parameters)."""
        one_hot = np.eye(model.n_out, dtype=x.dtype)[outputs[some]]
        g = engine.gradients(replace(problem, x=x[examples[some]], y=one_hot))
        return np.concatenate([a.reshape(len(a), -1) for a in g.values()], axis=1)

    step = max(1, BUDGET // model.parameter_count)
    blocks = [slice(start, start + step) for start in range(0, len(examples), step)]
    kernel = np.empty((len(examples), len(examples)), x.dtype)
    for n, a in enumerate(blocks):
        rows = jacobian(a)
        kernel[a, a] = rows @ rows.T
        for b in blocks[:n]:
            kernel[a, b] = rows @ jacobian(b).T
            kernel[b, a] = kernel[a, b].T
    return kernel.reshape(len(x), model.n_out, len(x), model.n_out)


def kernel_velocity(before: Array, after: Array) -> float:
    """1 − cos(Θ, Θ'), with the two kernels as vectors: 0 if the kernel was only scaled, 1 if they are orthogonal.

    Fort et al. 2020 divide it by the time between the two.  Raises ValueError for different shapes, or a zero kernel.

    >>> kernel_velocity(np.eye(2), 2 * np.eye(2))
    0.0
    """
    if np.shape(before) != np.shape(after):
        raise ValueError(f"after: expected the shape of before, {np.shape(before)}, got {np.shape(after)}")
    a, b = (_unit(name, kernel) for name, kernel in (("before", before), ("after", after)))
    return float(np.sum((a - b) ** 2) / 2)  # exact where 1 − cos would cancel


def _unit(argument: str, kernel: Array) -> Array:
    size = row_norms((flat := np.asarray(kernel, np.float64).ravel())[None])[0]
    if size == 0:
        raise ValueError(f"{argument}: expected a kernel that is not zero, got zeros of shape {np.shape(kernel)}")
    return flat / size
