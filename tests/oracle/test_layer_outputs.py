"""Outputs of layers tell where a network goes wrong: the first that differs is named, with those before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lie_ref import oracle
from lie_ref.machine.errors import InputError
from lie_ref.oracle.answers import Answers


def candidate(v: oracle.Vector, **changes) -> dict[str, np.ndarray]:
    """The logits and the outputs of all layers of a changed problem."""
    problem = replace(v, **changes)
    inside = {f"layer/{name}": a for name, a in oracle.layers(problem).items()}
    return {"logits": Answers(problem).outputs()["logits"], **inside}


def test_layers_are_those_of_the_network_and_end_with_its_logits():
    v = oracle.load("conv-batches-training")
    found = oracle.layers(v)
    assert np.allclose(found[list(found)[-1]], v.outputs["logits"], rtol=1e-12)
    assert {"0.0", "0.1", "0.2", "3", "4.0.convs.0.1", "4.0"} <= set(found)
    assert all(a.shape[:2] == v.x.shape[:2] for a in found.values())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_right_outputs_are_not_remarked_on(dtype):
    v = oracle.load("conv-basic")
    verdict = oracle.verify(v, {key: a.astype(dtype) for key, a in candidate(v).items()})
    assert verdict.agrees
    assert verdict.layer == ""


@pytest.mark.parametrize("name", ["1.0.weight", "4.0.convs.1.1.bias"])
def test_the_first_layer_with_other_weights_is_named(name):
    v = oracle.load("conv-basic")
    params = v.params | {name: v.params[name] + 0.1}
    verdict = oracle.verify(v, candidate(v, params=params))
    assert verdict.agrees is False
    layer = name.rpartition(".")[0]
    assert verdict.layer.startswith(f"the first layer that differs is {layer}, by ")
    assert "are right" in verdict.layer
    assert verdict.layer[1:] in str(verdict)
    assert verdict.to_dict()["layer"] == verdict.layer


def test_an_output_of_another_shape_is_named_with_both_shapes():
    v = oracle.load("conv-basic")
    answers = candidate(v)
    answers["layer/0.0"] = np.repeat(answers["layer/0.0"], 2, axis=2)
    assert "0.0: expected the shape (2, 2, 5, 3), got (2, 2, 10, 3)" in oracle.verify(v, answers).layer


def test_outputs_of_layers_that_the_network_has_not_are_refused(tmp_path):
    v = oracle.load("conv-basic")
    answers = candidate(v) | {"layer/0.9": np.zeros(3)}
    np.savez(tmp_path / "a.npz", **answers)
    for given in (answers, tmp_path / "a.npz"):
        with pytest.raises(InputError, match=r"'layer/0\.9' is not asked for.*layer/NAME"):
            oracle.verify(v, given)
    with pytest.raises(InputError, match="holds no arrays but outputs of layers"):
        oracle.verify(v, {"layer/0.0": answers["layer/0.0"]})
