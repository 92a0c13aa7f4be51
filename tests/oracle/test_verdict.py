"""The verdict: digits of agreement, digits required in each dtype, and where a wrong answer goes wrong."""

from __future__ import annotations

import numpy as np
import pytest

from lie_ref import mlp, mxresnet, oracle
from lie_ref.oracle.answers import QUANTITIES, quantity_of
from lie_ref.oracle.comparison import compared

VECTOR = oracle.load("conv-one-channel")


def changed(change, *quantities: str, vector: oracle.Vector = VECTOR) -> dict[str, np.ndarray]:
    """The right answers with some quantities changed."""
    return {key: change(a) if quantity_of(key) in quantities else a for key, a in vector.outputs.items()}


def noise(size: float):
    rng = np.random.default_rng(0)
    return lambda a: a * (1 + size * rng.standard_normal(a.shape))


def test_digits_are_the_log_relative_error_of_the_worst_tensor():
    name = "4.0.convs.0.0.weight"
    wrong = VECTOR.outputs | {f"bracket/{name}": VECTOR.outputs[f"bracket/{name}"] * (1 + 1e-6)}
    verdict = oracle.verify(VECTOR, wrong)
    found = verdict.quantities["bracket"]
    assert (found.agrees, found.worst_tensor) == (False, name)
    assert found.digits == pytest.approx(6, abs=1e-6)
    assert [q for q in QUANTITIES if not verdict.quantities[q].agrees] == ["bracket"]
    assert verdict.quantities["grad"].digits == 17  # nothing differs
    wrong |= {f"bracket/{name}": wrong[f"bracket/{name}"] * np.nan}
    assert oracle.verify(VECTOR, wrong).quantities["bracket"].digits == 0


def test_a_wrong_row_is_found_beside_larger_rows():
    vector = oracle.load("mlp-itself")
    wrong = {key: a.copy() for key, a in vector.outputs.items()}
    wrong["bracket/0.bias"][0] += 1e-9  # the bracket of an example with itself: zero
    assert not oracle.verify(vector, wrong).quantities["bracket"].agrees


def test_more_digits_are_required_of_float64_than_of_float32():
    single, double = (
        oracle.verify(VECTOR, {k: a.astype(dtype) for k, a in VECTOR.outputs.items()}).quantities["bracket"]
        for dtype in (np.float32, np.float64)
    )
    assert 2 < single.required_digits < 6 < 11 < double.required_digits < 15


def test_each_array_of_a_candidate_is_judged_by_its_own_dtype():
    single = {key: a.astype(np.float32) for key, a in VECTOR.outputs.items()}
    mixed = VECTOR.outputs | {key: a for key, a in single.items() if key.startswith("hvp")}
    allowed, of_single, of_double = (compared(VECTOR, c).allowed for c in (mixed, single, VECTOR.outputs))
    assert allowed.keys() == VECTOR.outputs.keys()
    for key, a in allowed.items():
        np.testing.assert_array_equal(a, (of_single if key.startswith("hvp") else of_double)[key])


def test_float32_answers_in_float64_arrays_are_recognised():
    verdict = oracle.verify(VECTOR, {key: a.astype(np.float32).astype(float) for key, a in VECTOR.outputs.items()})
    assert not verdict.agrees
    (only,) = verdict.diagnosis
    assert only.name == "lower-precision"
    assert only.explains.endswith("the answers are float32 numbers")


@pytest.mark.parametrize(("size", "bits"), [(1e-9, 33), (1e-5, 20)])
def test_noise_is_named_with_its_precision_in_bits(size, bits):
    (only,) = oracle.verify(VECTOR, changed(noise(size), *QUANTITIES)).diagnosis
    assert only.name == "lower-precision"
    said = int(only.explains.split("about ")[1].split()[0])
    assert abs(said - bits) <= 5  # the precision of inputs that would give such errors, which the network amplifies


@pytest.mark.parametrize(("size", "names"), [(1e-22, ["all-zero"]), (1e-3, [])])
def test_random_answers_are_not_explained_by_a_factor(size, names):
    rng = np.random.default_rng(0)
    vector = oracle.load("mlp-saturated-softmax-800")
    candidate = {k: size * rng.standard_normal(a.shape) for k, a in vector.outputs.items() if k.startswith("bracket")}
    verdict = oracle.verify(vector, candidate)
    assert not verdict.agrees
    assert [bug.name for bug in verdict.diagnosis] == names


def test_one_wrong_entry_is_not_mistaken_for_noise():
    wrong = {key: a.copy() for key, a in VECTOR.outputs.items()}
    wrong["hvp/1.0.weight"].flat[7] *= 1 + 1e-6
    verdict = oracle.verify(VECTOR, wrong)
    assert verdict.diagnosis == ()
    assert "hvp, in 1.0.weight; the other 25 are right; wrong: H_0 g_1; right: H_1 g_0" in str(verdict)


def test_tensors_are_said_as_the_part_of_the_network_that_they_are():
    names, group = list(VECTOR.params), compared(VECTOR, {}).group
    kernels, norms = ([n for n in names if n.split(".")[-2] == k] for k in "01")  # such as 0.0.weight and 0.1.bias
    biases, weights = ([n for n in names if n.endswith(end)] for end in ("bias", "weight"))
    last = names[-2:]
    assert len(kernels) + len(norms) + len(last) == len(names)
    parts = {"all tensors": names, "the biases": biases, "the vectors": [*norms, last[1]], "batch-norm": norms}
    parts |= {"the last layer": last, "all but the last layer": names[:-2], "the convolutions": kernels}
    parts |= {"the weights": weights, "the matrices and kernels": [*kernels, last[0]]}
    parts |= {f"all tensors up to {names[2]}": names[:3], f"{names[-3]} and all after it": names[-3:]}
    parts |= {f"{names[0]}, {names[2]}": names[:3:2], ", ".join(names[:8:2]): names[:8:2], names[0]: names[:1]}
    parts |= {", ".join(names[:8:2]) + " and 2 others": names[:12:2], names[-1]: names[-1:]}
    assert {words: group(part) for words, part in parts.items()} == {words: words for words in parts}


def test_a_bug_is_sought_in_the_first_wrong_quantity_and_in_the_missing_ones_before_it():
    vector = oracle.load("mlp-tanh-bce")
    wrong = changed(lambda a: -a, "bracket", "logit_delta", vector=vector)
    cases = {"grad bracket": "hvp bracket", "bracket": "logits loss grad hvp bracket", " ".join(QUANTITIES): "bracket"}
    for given, stages in cases.items():
        found = compared(vector, {key: a for key, a in wrong.items() if quantity_of(key) in given.split()})
        assert " ".join(found.stages) == stages
        assert found.beginning.quantities == [q for q in QUANTITIES[:5] if q in given.split()]
    for quantity, row in (("bracket", 1), ("hvp", 1), ("grad", 0)):  # of the gradients, a pair does not say which
        wrong = {key: a.copy() for key, a in vector.outputs.items()}
        wrong[f"{quantity}/0.bias"][1] += 1.0
        assert compared(vector, wrong).worst_pair.vector.pairs.tolist() == vector.pairs[row : row + 1].tolist()


def test_without_a_known_bug_the_verdict_names_the_first_wrong_quantity():
    rng = np.random.default_rng(0)
    verdict = oracle.verify(VECTOR, changed(lambda a: rng.standard_normal(a.shape), "hvp", "bracket", "logit_delta"))
    assert verdict.diagnosis == ()
    text = str(verdict)
    assert text.endswith("The first quantity that disagrees is hvp, in all tensors; logits, loss, grad agree.")


def test_the_verdict_says_which_example_product_or_pair_is_worst():
    vector = oracle.load("mlp-tanh-bce")
    places = {"grad/0.bias": (1, "0.bias of example 1"), "loss": (2, "example 2"), "logits": (0, "example 0")}
    places |= {"hvp/0.bias": ((1, 0), "0.bias of H_0 g_2"), "bracket/2.bias": (1, "2.bias of pair (2, 0)")}
    places |= {"logit_delta": (0, "pair (0, 1)")}
    for key, (row, place) in places.items():
        wrong = {k: a.copy() for k, a in vector.outputs.items()}
        wrong[key][row] += 1e-3
        verdict = oracle.verify(vector, wrong)
        assert verdict.quantities[quantity_of(key)].place == place
        assert f"worst in {place}" in str(verdict)


def test_the_verdict_says_where_rounding_leaves_no_digits_and_what_would_help():
    vector = oracle.load("mlp-offset-inputs")
    verdict = str(oracle.verify(vector, {k: a.astype(np.float32) for k, a in vector.outputs.items()}))
    assert verdict.startswith("mlp-offset-inputs: CANNOT TELL (decided: at least 0.0 digits)")
    line = "  hvp          CANNOT TELL: 0.0 digits are decided in H_1 g_0, because of rounding in float32"
    assert line in verdict.splitlines()
    assert verdict.count("CANNOT TELL:") == 6
    assert "To decide more, use answers in float64, or oracle.reference at" in verdict
    assert "rounding" not in str(oracle.verify(VECTOR, VECTOR.outputs))


def one_logit(z: float, loss: str = "bce") -> oracle.Vector:
    """Two nearly equal examples with one output, which has this logit, and target 1."""
    params = {"0.weight": np.full((1, 1), z), "0.bias": np.zeros(1)}
    x = np.array([[1.0], [1.01]])
    return oracle.reference(mlp([1, 1]), params, {}, x, np.ones((2, 1)), [(0, 1)], loss=loss)


def test_zeros_cannot_agree_where_the_answer_is_lost_to_rounding():
    vector = one_logit(36.0)  # the gradient is σ(36) − 1 = −2e-16, whose usual formula has no digit
    zeros = changed(np.zeros_like, *QUANTITIES[1:], vector=vector)
    for candidate in (zeros, vector.outputs):
        verdict = oracle.verify(vector, candidate)
        assert verdict.agrees is None
        assert [verdict.quantities[q].agrees for q in QUANTITIES] == [True, *5 * [None]]
        with pytest.raises(AssertionError, match=r"CANNOT TELL: 0\.0 digits are decided in example 0, because of"):
            oracle.assert_agrees(vector, candidate)
    assert "float64, or" not in str(verdict)
    assert oracle.verify(vector, zeros | {"logits": 2 * zeros["logits"]}).agrees is False
    assert oracle.verify(one_logit(1.0), one_logit(1.0).outputs).agrees is True


def test_answers_that_are_zero_are_decided_by_the_terms_that_cancel():
    vector, dead = oracle.load("mlp-itself"), oracle.load("mlp-relu-at-zero")
    alone = oracle.reference(vector.model, vector.params, {}, vector.x, vector.y, [(1, 1)])
    assert not any(a.any() for key, a in alone.outputs.items() if key.startswith("bracket"))
    for v in (vector, dead, alone):
        for dtype, least in ((np.float32, 2), (np.float64, 11)):
            verdict = oracle.verify(v, {key: a.astype(dtype) for key, a in v.outputs.items()})
            assert verdict.agrees is True
            assert verdict.decided >= least
    noise = {key: 1e-9 + a for key, a in alone.outputs.items() if key.startswith("bracket")}
    assert oracle.verify(alone, noise).agrees is False


def test_a_zero_on_a_kink_that_rounding_decides_is_not_decided():
    params = {"0.weight": np.array([[0.1, 0.2, -0.3]]), "0.bias": np.zeros(1)}
    params |= {"2.weight": np.ones((1, 1)), "2.bias": np.zeros(1)}
    model, y = mlp([3, 1, 1], "relu"), np.array([[1.0], [0.0]])
    for x, agrees in ((np.ones(3), None), (np.array([1.0, 1.0, 2.0]), True)):  # 0.1 + 0.2 − 0.3 is 0 but for rounding
        vector = oracle.reference(model, params, {}, np.stack([x, x]), y, [(0, 1)])
        grad = {key: a for key, a in vector.outputs.items() if key.startswith("grad")}
        assert not grad["grad/2.weight"].all() or agrees is None
        assert oracle.verify(vector, grad).agrees is agrees


def test_a_tensor_smaller_than_the_error_allowed_to_all_need_not_be_decided():
    vector = oracle.load("mlp-saturated-bce-800")
    comparison = compared(vector, vector.outputs)
    small, whole = (np.linalg.norm(vector.outputs[f"hvp/{name}"][0, 1]) for name in ("2.bias", "0.weight"))
    assert 0 < small < 1e-70 * whole
    assert comparison.allowed["hvp/2.bias"][0, 1] > small  # so that any smaller number is accepted
    assert comparison.decided("hvp")[0] > 7


def test_a_bug_is_named_only_if_it_explains_all_pairs():
    rng = np.random.default_rng(0)
    model = mlp([3, 4, 2], "mish")
    params = {name: rng.standard_normal(p.shape) for name, p in model.init(seed=0)[0].items()}
    x, y = rng.standard_normal((5, 3)), rng.integers(0, 2, (5, 2)).astype(float)
    vector = oracle.reference(model, params, {}, x, y, [(0, 1), (3, 2), (4, 4), (1, 4)])
    assert oracle.verify(vector, vector.outputs).agrees
    plus = {f"bracket/{k}": vector.outputs[f"hvp/{k}"].sum(axis=1) for k in params}
    assert [e.name for e in oracle.verify(vector, plus).diagnosis] == ["plus-for-minus"]
    one_wrong = {key: a.copy() for key, a in plus.items()}
    one_wrong["bracket/0.bias"][3] *= 2  # the worst row, and not the same bug
    assert oracle.verify(vector, one_wrong).diagnosis == ()
    one_right = {key: np.concatenate([a[:3], vector.outputs[key][3:]]) for key, a in plus.items()}
    assert oracle.verify(vector, one_right).diagnosis == ()  # the worst pair alone would be explained


def test_a_bug_that_explains_only_the_first_wrong_quantity_is_named_with_a_note():
    (only,) = oracle.verify(VECTOR, changed(lambda a: -a, "bracket")).diagnosis
    assert only.name == "sign-swapped"
    assert only.explains.endswith("this explains bracket, and there is another bug in what follows")


def test_the_verdict_names_missing_quantities_that_would_tell_more():
    rng = np.random.default_rng(0)
    random = {k: rng.standard_normal(a.shape) for k, a in VECTOR.outputs.items() if k.startswith("bracket")}
    assert "the candidate lacks logits, loss, grad, hvp, which would tell more." in str(oracle.verify(VECTOR, random))


@pytest.mark.parametrize(
    ("factor", "words"),
    [(3.0, "hvp × 3 (outputs C)"), (9.0, "hvp × 9 (C²)"), (1e-4, "hvp × 0.0001 (a step ε, or ε²)"), (0.7, "hvp × 0.7")],
)
def test_a_factor_is_named_with_its_possible_meaning(factor, words):
    vector = oracle.load("conv-odd")  # softmax, where the outputs are not averaged
    (only,) = oracle.verify(vector, changed(lambda a: factor * a, "hvp", vector=vector)).diagnosis
    assert only.name == "factor"
    assert words in only.explains


def test_assert_agrees_raises_the_verdict():
    wrong = changed(lambda a: -a, "bracket", "logit_delta")
    with pytest.raises(AssertionError) as raised:
        oracle.assert_agrees(VECTOR, wrong)
    assert str(raised.value) == str(oracle.verify(VECTOR, wrong))
    assert "sign-swapped" in str(raised.value)


def test_logits_of_mini_batches_are_placed_by_their_mini_batch_and_members_are_rows_of_their_own():
    vector = oracle.load("mlp-batches")
    wrong, swapped = vector.outputs["logits"].copy(), vector.outputs["logits"].copy()
    wrong[2, 1] += 1e-3
    text = str(oracle.verify(vector, {"logits": wrong}))
    assert "worst in mini-batch 2" in text
    assert "wrong: mini-batch 2; right: mini-batch 0, mini-batch 1" in text
    swapped[0] = swapped[0, ::-1]
    first, last = (f"member {k} of mini-batch 0" for k in (0, len(swapped[0]) - 1))
    assert f"{first} is {last}" in str(oracle.verify(vector, {"logits": swapped}))


def test_wrong_logits_are_examined_where_pictures_of_another_size_are_watched():
    model, rng = mxresnet((2, 2, 2), (2, 2), (1, 1), n_out=2), np.random.default_rng(0)
    x, y, x_eval = rng.normal(size=(2, 3, 8, 8)), rng.integers(0, 2, (2, 2)), rng.normal(size=(3, 3, 9, 7))
    vector = oracle.reference(model, *model.init(0), x, y, [(0, 1)], x_eval)
    assert not oracle.verify(vector, {"logits": vector.outputs["logits"] + 1e-3 * rng.normal(size=(2, 2))}).agrees
