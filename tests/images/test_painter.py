"""Synthetic faces: labels distributed as CelebA's, pictures that show them and depend on nothing else."""

from __future__ import annotations

import doctest
import itertools

import numpy as np
import pytest

from lie_ref.images import labels as attributes_module
from lie_ref.images import painter as faces
from lie_ref.images.labels import ATTRIBUTES, HAIR, load_statistics, sample_attributes
from lie_ref.images.painter import draw_face
from lie_ref.machine.errors import InputError

N = 20_000
CALIBRATION = 1 << 17  # rows of the fixed sample on which frequencies are calibrated
COLUMN = {name: column for column, name in enumerate(ATTRIBUTES)}
HAIR = [COLUMN[name] for name in HAIR]


def labelled(*names: str) -> np.ndarray:
    """The labels of a face with these attributes alone."""
    return np.isin(ATTRIBUTES, names).astype(np.uint8)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return sample_attributes(N, seed=0)


def frequency_errors(labels: np.ndarray) -> np.ndarray:
    """Deviations from CelebA's frequencies, in standard errors of this sample and of the calibration together."""
    frequency = load_statistics().frequency
    variance = frequency * (1 - frequency) * (1 / len(labels) + 1 / CALIBRATION)
    return (labels.mean(axis=0) - frequency) / np.sqrt(variance)


@pytest.mark.parametrize("module", [faces, attributes_module])
def test_examples_in_the_docstrings_run(module):
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_statistics_are_those_of_forty_attributes():
    names, frequency, correlation = load_statistics()
    assert names == ATTRIBUTES
    assert (ATTRIBUTES[0], ATTRIBUTES[39], len(set(ATTRIBUTES))) == ("5_o_Clock_Shadow", "Young", 40)
    assert (frequency.shape, correlation.shape) == ((40,), (40, 40))


def test_pairwise_latent_correlation_of_two_medians_is_the_sine_of_the_arc():
    # Sheppard's formula: signs of normals of correlation r agree so that their covariance is asin(r) / 2π.
    given = np.array([[1, 0.3], [0.3, 1]])
    latent = attributes_module._latent_correlation(np.array([0.5, 0.5]), given)
    assert latent[0, 1] == pytest.approx(np.sin(0.3 * np.pi / 2), abs=1e-10)


def test_labels_are_zeros_and_ones(labels):
    assert labels.shape == (N, 40)
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 1}


def test_frequencies_are_celebas_within_sampling_error(labels):
    # 40 normal deviates exceed 4 together with probability 0.003, and the seed is fixed.
    assert np.abs(frequency_errors(labels)).max() < 4


def test_correlations_are_celebas_but_for_what_no_normal_copula_can_give(labels):
    # Sampling alone gives an RMS of 1/sqrt(20,000) = 0.007 a pair. The rest comes from clipping eigenvalues: exclusive
    # or implied labels ask for latent correlations near ±1 that do not fit together.
    expected = load_statistics().correlation
    pairs = np.triu_indices(40, 1)
    deviation = (np.corrcoef(labels.T) - expected)[pairs]
    assert np.sqrt(np.mean(expected[pairs] ** 2)) > 0.15
    assert np.sqrt(np.mean(deviation**2)) < 0.02
    assert np.abs(deviation).max() < 0.12


def test_no_face_has_two_hair_colours_and_some_have_none(labels):
    assert set(np.unique(labels[:, HAIR].sum(axis=1))) == {0, 1}


@pytest.mark.parametrize(
    ("first", "second"),
    [("Goatee", "No_Beard"), ("Bald", "Bangs"), ("Bald", "Brown_Hair"), ("Wavy_Hair", "Straight_Hair")],
)
def test_impossible_pairs_never_meet(labels, first, second):
    assert labels[:, COLUMN[first]].any()
    assert not (labels[:, COLUMN[first]] & labels[:, COLUMN[second]]).any()


def test_only_men_have_beards(labels):
    bearded = labels[:, [COLUMN[name] for name in ("Goatee", "Mustache", "Sideburns", "5_o_Clock_Shadow")]].any(axis=1)
    assert labels[bearded, COLUMN["Male"]].all()


def test_hair_colours_meet_where_they_are_not_exclusive_and_are_as_frequent():
    labels = sample_attributes(N, seed=0, exclusive=False)
    assert labels[:, HAIR].sum(axis=1).max() >= 2
    assert np.abs(frequency_errors(labels)).max() < 4


def test_a_larger_set_extends_a_smaller_one(labels):
    for n in (0, 1, 3, 500):
        np.testing.assert_array_equal(sample_attributes(n, seed=0), labels[:n])


def test_another_seed_gives_other_labels(labels):
    assert (sample_attributes(100, seed=1) != labels[:100]).any()


def test_a_picture_is_the_same_each_time_and_of_the_size_asked_for(labels):
    picture = draw_face(labels[0], seed=3, index=5)
    assert (picture.shape, picture.dtype) == ((64, 64, 3), np.uint8)
    np.testing.assert_array_equal(picture, draw_face(labels[0].astype(bool), seed=3, index=5))
    assert draw_face(labels[0], seed=3, index=5, size=33).shape == (33, 33, 3)


def test_seed_and_index_each_change_the_picture(labels):
    pictures = [draw_face(labels[0], seed, index).astype(int) for seed, index in ((0, 0), (0, 1), (1, 0))]
    for first, second in itertools.combinations(pictures, 2):
        assert np.abs(first - second).mean() > 10


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_attribute_shows(name):
    """Toggled on a plain face, all else equal, it changes at least 8 pixels by more than the sensor noise, 6 units."""
    without = labelled(*{"No_Beard", "Young"} - {name})
    changed = [
        np.abs(draw_face(without | labelled(name), 0, index) - draw_face(without, 0, index).astype(int)).max(axis=2)
        > 12
        for index in range(8)
    ]
    assert min(np.sum(changed, axis=(1, 2))) >= 8


@pytest.mark.parametrize("name", ["Eyeglasses", "Smiling", "Mustache", "Big_Nose", "Bushy_Eyebrows"])
def test_a_label_changes_nothing_but_its_own_cue(name):
    """The frame of the picture (background, hair, clothes, noise) stays as it was, to the last bit."""
    plain, toggled = (draw_face(labelled("Young", *names), 0, 2) for names in ((), (name,)))
    changed = (plain != toggled).any(axis=2)
    assert changed[12:52, 12:52].any()
    changed[12:52, 12:52] = False
    assert not changed.any()


def test_black_and_brown_hair_are_told_apart_the_worse_the_more_ambiguous():
    def mistakes(ambiguity: float) -> float:
        """Share of faces on the wrong side of the best threshold on the redness of the hair above the forehead."""
        red = np.array(
            [
                [
                    draw_face(labelled(colour), 0, index, ambiguity=ambiguity)[10:13, 30:34, 0].mean()
                    for index in range(60)
                ]
                for colour in ("Black_Hair", "Brown_Hair")
            ]
        )
        return min(np.mean([(red[0] > t).mean(), (red[1] <= t).mean()]) for t in red.ravel())

    clear, usual, hard = (mistakes(ambiguity) for ambiguity in (0.0, 1.0, 3.0))
    assert clear < 0.05
    assert clear < usual < hard


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attributes": np.zeros(39, np.uint8)}, r"attributes: expected \(40,\) integers, found \(39,\) uint8"),
        ({"attributes": np.zeros((1, 40), np.uint8)}, r"attributes: expected \(40,\) integers, found \(1, 40\)"),
        ({"attributes": np.zeros(40)}, r"attributes: .* found \(40,\) float64"),
        ({"attributes": -labelled("Bald").astype(int)}, "attributes: Bald: expected 0 or 1, found -1"),
        ({"seed": -1}, "seed: expected an integer of at least 0, found -1"),
        ({"index": 0.5}, "index: expected an integer of at least 0, found 0.5"),
        ({"size": 7}, "size: expected an integer of at least 8, found 7"),
        ({"ambiguity": -1.0}, "ambiguity: expected a number of at least 0, found -1.0"),
        ({"ambiguity": float("nan")}, "ambiguity: .* found nan"),
    ],
)
def test_bad_arguments_of_a_picture_are_named(change, message):
    with pytest.raises(InputError, match=message):
        draw_face(**{"attributes": labelled("Young"), "seed": 0, "index": 0} | change)


@pytest.mark.parametrize(
    ("n", "seed", "message"), [(-1, 0, "n: .* found -1"), (2.0, 0, "n: .* found 2.0"), (1, True, "seed: .* found True")]
)
def test_bad_arguments_of_a_sample_are_named(n, seed, message):
    with pytest.raises(InputError, match=message):
        sample_attributes(n, seed)
