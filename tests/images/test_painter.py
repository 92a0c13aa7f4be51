"""Synthetic faces: labels are distributed as CelebA's, pictures show them and depend on nothing else."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lie_ref.images.labels import ATTRIBUTES, CORRELATION, FREQUENCY, HAIR, _latent_correlation, sample_attributes
from lie_ref.images.painter import draw_face

N = 20_000
CALIBRATION = 1 << 17  # rows of the fixed sample on which frequencies are calibrated
HAIR_COLUMNS = [ATTRIBUTES.index(name) for name in HAIR]


def labelled(*names: str) -> np.ndarray:
    """The labels of a face with these attributes and no others."""
    return np.isin(ATTRIBUTES, names).astype(np.uint8)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return sample_attributes(N, seed=0)


def test_the_statistics_cover_forty_attributes():
    assert (ATTRIBUTES[0], ATTRIBUTES[39], len(set(ATTRIBUTES))) == ("5_o_Clock_Shadow", "Young", 40)
    assert (FREQUENCY.shape, CORRELATION.shape) == ((40,), (40, 40))
    assert FREQUENCY[ATTRIBUTES.index("Bald")] == pytest.approx(0.0232, abs=5e-5)


def test_pairwise_latent_correlation_of_two_medians_is_the_sine_of_the_arc():
    # Sheppard's formula: the signs of two normal variables with correlation r have the covariance asin(r) / 2π.
    latent = _latent_correlation(np.array([0.5, 0.5]), np.array([[1, 0.3], [0.3, 1]]))
    assert latent[0, 1] == pytest.approx(np.sin(0.3 * np.pi / 2), abs=1e-10)


@pytest.mark.parametrize("exclusive", [True, False])
def test_frequencies_are_celebas_and_exclusive_hair_has_at_most_one_colour(exclusive):
    labels = sample_attributes(N, seed=0, exclusive=exclusive)
    error = np.sqrt(FREQUENCY * (1 - FREQUENCY) * (1 / N + 1 / CALIBRATION))  # of this sample and of the calibration
    # The largest of 40 normal deviates exceeds 4 with probability 0.003, and the seed is fixed.
    assert (np.abs(labels.mean(axis=0) - FREQUENCY) < 4 * error).all()
    colours = labels[:, HAIR_COLUMNS].sum(axis=1)
    assert colours.min() == 0
    assert (colours.max() == 1) == exclusive


def test_correlations_are_celebas_except_for_what_no_normal_copula_can_give(labels):
    # Sampling alone gives an RMS error of 1/sqrt(20,000) = 0.007 per pair.  The rest comes from clipping eigenvalues:
    # labels that exclude or imply each other need latent correlations near ±1 that do not form a correlation matrix.
    pairs = np.triu_indices(40, 1)
    deviation = (np.corrcoef(labels.T) - CORRELATION)[pairs]
    assert np.sqrt(np.mean(CORRELATION[pairs] ** 2)) > 0.15
    assert np.sqrt(np.mean(deviation**2)) < 0.02
    assert np.abs(deviation).max() < 0.12


def test_impossible_pairs_never_occur_and_only_men_have_beards(labels):
    face = dict(zip(ATTRIBUTES, labels.T.astype(bool), strict=True))
    for first, second in (("Goatee", "No_Beard"), ("Bald", "Bangs"), ("Bald", "Brown_Hair"), ("Wavy_Hair", "Bald")):
        assert face[first].any()
        assert not (face[first] & face[second]).any()
    assert not (face["Wavy_Hair"] & face["Straight_Hair"]).any()
    for beard in ("Goatee", "Mustache", "Sideburns", "5_o_Clock_Shadow"):
        assert face["Male"][face[beard]].all()


def test_labels_are_zeros_and_ones_that_depend_on_the_seed_and_extend_a_smaller_set(labels):
    assert (labels.shape, labels.dtype) == ((N, 40), np.uint8)
    assert set(np.unique(labels)) == {0, 1}
    for n in (0, 1, 3, 500):
        np.testing.assert_array_equal(sample_attributes(n, seed=0), labels[:n])
    assert (sample_attributes(100, seed=1) != labels[:100]).any()


def test_picture_has_the_requested_size_and_depends_on_seed_and_index_only(labels):
    picture = draw_face(labels[0], seed=3, index=5)
    assert (picture.shape, picture.dtype) == ((64, 64, 3), np.uint8)
    np.testing.assert_array_equal(picture, draw_face(labels[0].astype(bool), seed=3, index=5))
    assert draw_face(labels[0], seed=3, index=5, size=33).shape == (33, 33, 3)
    pictures = [draw_face(labels[0], seed, index).astype(int) for seed, index in ((0, 0), (0, 1), (1, 0))]
    for first, second in itertools.combinations(pictures, 2):
        assert np.abs(first - second).mean() > 10


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_attribute_is_visible(name):
    """Adding the attribute to a plain face changes at least 8 pixels by more than 12, twice the sensor noise."""
    without = labelled(*{"No_Beard", "Young"} - {name})
    for index in range(8):
        plain, toggled = (draw_face(labels, 0, index).astype(int) for labels in (without, without | labelled(name)))
        assert np.sum(np.abs(toggled - plain).max(axis=2) > 12) >= 8


@pytest.mark.parametrize("name", ["Eyeglasses", "Smiling", "Mustache", "Big_Nose", "Bushy_Eyebrows"])
def test_a_label_changes_nothing_but_its_own_cue(name):
    """The margin of the picture (background, hair, clothes, noise) stays bit for bit the same."""
    plain, toggled = (draw_face(labelled("Young", *names), 0, 2) for names in ((), (name,)))
    changed = (plain != toggled).any(axis=2)
    assert changed[12:52, 12:52].any()
    changed[12:52, 12:52] = False
    assert not changed.any()


def test_ambiguity_makes_black_and_brown_hair_harder_to_tell_apart():
    def redness(colour: str, ambiguity: float) -> np.ndarray:
        """The redness of the hair above the forehead of 60 faces."""
        faces = (draw_face(labelled(colour), 0, index, ambiguity=ambiguity) for index in range(60))
        return np.array([face[10:13, 30:34, 0].mean() for face in faces])

    def mistakes(ambiguity: float) -> float:
        """The share of faces on the wrong side of the best threshold."""
        black, brown = (redness(colour, ambiguity) for colour in ("Black_Hair", "Brown_Hair"))
        return min(np.mean([(black > t).mean(), (brown <= t).mean()]) for t in (*black, *brown))

    clear, usual, hard = (mistakes(ambiguity) for ambiguity in (0.0, 1.0, 3.0))
    assert clear < 0.05
    assert clear < usual < hard
