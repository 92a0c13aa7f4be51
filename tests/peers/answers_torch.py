"""Answers a test vector in PyTorch in three styles: double backward, forward over reverse, and vmap.

An example is treated as a mini-batch of one, so a field is always minus the gradient of the mean loss of a batch.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad, jvp, vmap

from . import Arrays, brackets, keyed
from .mxresnet_torch import (
    LOSSES,
    State,
    gradient,
    hvp,
    load_weights,
    loss_of,
    network,
    parameters,
    push_forward,
    without_running_statistics,
)


class Problem:
    """A test vector in torch: its network, the batches of its fields, and the keys of its answers."""

    def __init__(self, vector: Any, dtype: Any, device: str) -> None:
        torch.backends.cuda.matmul.allow_tf32 = False  # TF32 keeps 10 bits of the 23 of float32
        torch.backends.cudnn.allow_tf32 = False
        tensor = partial(torch.tensor, device=device)
        x, y, x_eval = vector.x, vector.y, vector.x_eval
        self.loss, self.batches = vector.loss, vector.batches
        self.pairs = tensor(vector.pairs)  # (p, 2)
        self.x, self.x_eval = tensor(x.astype(dtype)), tensor(x_eval.astype(dtype))  # (b, m, …), (n_eval, …)
        self.y = tensor(y if vector.loss == "softmax" else y.astype(dtype))  # (b, m) or (b, m, k)
        self.net = load_weights(network(vector.model.spec), vector.params, vector.buffers).to(self.x)
        self.field_net = without_running_statistics(self.net) if vector.training else self.net
        if not self.batches:
            self.x, self.y = self.x[:, None], self.y[:, None]

    def candidate(self, gradients: State, hvps: State, deltas: Tensor) -> Arrays:
        """The answers in the form of a vector; gradients (b, *shape), hvps (p, 2, *shape), deltas (p, n_eval, k)."""
        with torch.no_grad():
            logits = torch.stack([self.field_net(x) for x in self.x])
            losses = torch.stack([LOSSES[self.loss](z, y) for z, y in zip(logits, self.y, strict=True)])
        answers = keyed(losses, logits, gradients, hvps, deltas, self.batches)
        return {key: value.detach().cpu().numpy() for key, value in answers.items()}


def stack(states: list[State]) -> State:
    """name → (len(states), *shape)."""
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def unstacked(state: State) -> list[State]:
    return [dict(zip(state, tensors, strict=True)) for tensors in zip(*state.values(), strict=True)]


def double_backward(vector: Any, dtype: Any, device: str = "cpu") -> Arrays:
    """`torch.autograd.grad` with `create_graph=True`, without the transforms of torch.func."""
    problem = Problem(vector, dtype, device)
    params = {name: p.detach().requires_grad_() for name, p in problem.net.named_parameters()}
    names, leaves = list(params), list(params.values())

    def vjp(output: Tensor, cotangent: Tensor | None = None) -> State:
        """The cotangent pulled back to the parameters, as a differentiable function of both."""
        values = torch.autograd.grad(output, leaves, cotangent, create_graph=True, materialize_grads=True)
        return dict(zip(names, values, strict=True))

    def dot(a: State, b: State) -> Tensor:
        return torch.stack([(a[name] * b[name]).sum() for name in names]).sum()

    def hvp(g: State, direction: State) -> State:
        """H d = ∇(g · d) for a constant d."""
        constant = {name: d.detach() for name, d in direction.items()}
        return {name: value.detach() for name, value in vjp(dot(g, constant)).items()}

    batches = zip(problem.x, problem.y, strict=True)
    gradients = [vjp(loss_of(problem.field_net, x, y, problem.loss)(params)) for x, y in batches]
    pairs = problem.pairs.tolist()
    hvps = stack([stack([hvp(gradients[j], gradients[i]), hvp(gradients[i], gradients[j])]) for i, j in pairs])

    # Jᵀu is linear in u, so its vector-Jacobian product with t is J t, for any u.
    logits = functional_call(problem.net, params, (problem.x_eval,))
    u = torch.zeros_like(logits, requires_grad=True)
    pulled_back = vjp(logits, u)
    tangents = unstacked(brackets(hvps))
    deltas = [torch.autograd.grad(dot(pulled_back, t), u, retain_graph=True)[0] for t in tangents]
    return problem.candidate(stack(gradients), hvps, torch.stack(deltas))


def forward_over_reverse(vector: Any, dtype: Any, device: str = "cpu") -> Arrays:
    """`jvp` of `grad` for one batch and one direction at a time, and `jvp` of the logits."""
    problem = Problem(vector, dtype, device)
    net, loss, x, y = problem.field_net, problem.loss, problem.x, problem.y
    gradients = [gradient(net, x[i], y[i], loss) for i in range(len(x))]

    def product(j: int, i: int) -> State:
        return hvp(net, x[j], y[j], loss, gradients[i])

    hvps = stack([stack([product(j, i), product(i, j)]) for i, j in problem.pairs.tolist()])
    deltas = [push_forward(problem.net, problem.x_eval, tangent) for tangent in unstacked(brackets(hvps))]
    return problem.candidate(stack(gradients), hvps, torch.stack(deltas))


def vmapped(vector: Any, dtype: Any, device: str = "cpu") -> Arrays:
    """`vmap` of `grad` over batches, of `jvp` of `grad` over pairs in both orders, and of `jvp` over brackets."""
    problem = Problem(vector, dtype, device)
    x, y, params = problem.x, problem.y, parameters(problem.net)

    def gradient(params: State, x: Tensor, y: Tensor) -> State:
        return grad(loss_of(problem.field_net, x, y, problem.loss))(params)

    def hvp(x: Tensor, y: Tensor, direction: State) -> State:
        return jvp(lambda params: gradient(params, x, y), (params,), (direction,))[1]

    gradients = vmap(gradient, (None, 0, 0))(params, x, y)
    along, of = problem.pairs, problem.pairs.flip(1)  # for a pair (i, j): H_j along g_i, then H_i along g_j
    over_orders = vmap(vmap(hvp))
    hvps = over_orders(x[of], y[of], {name: g[along] for name, g in gradients.items()})
    deltas = vmap(lambda tangent: push_forward(problem.net, problem.x_eval, tangent))(brackets(hvps))
    return problem.candidate(gradients, hvps, deltas)
