"""Labels of synthetic faces: CelebA's 40 attributes, as frequent and as correlated as they are there."""

from __future__ import annotations

import json
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from ..machine.errors import InputError
from ..machine.files import data_file


class Statistics(NamedTuple):
    """What is known of CelebA's labels: `names` (40), `frequency` (40,) and `correlation` (40, 40), float64."""

    names: tuple[str, ...]
    frequency: np.ndarray
    correlation: np.ndarray


@lru_cache(maxsize=1)
def load_statistics() -> Statistics:
    """The frequencies of CelebA's attributes and the correlations between them.

    >>> round(float(load_statistics().frequency[ATTRIBUTES.index("Bald")]), 4)
    0.0232
    """
    table = json.loads(data_file("attribute_statistics.json").read_text(encoding="utf-8"))
    return Statistics(tuple(table["attributes"]), np.array(table["frequency"]), np.array(table["correlation"]))


ATTRIBUTES: tuple[str, ...] = load_statistics().names
HAIR = ("Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair")
_COLUMN = {name: column for column, name in enumerate(ATTRIBUTES)}
_HAIR = [_COLUMN[name] for name in HAIR]

# (attributes, condition, value): these attributes are possible only where the condition has that value.
_POSSIBLE_IF = (
    (("5_o_Clock_Shadow", "Bald", "Goatee", "Mustache", "Sideburns"), "Male", True),
    (("Goatee", "Mustache", "Sideburns"), "No_Beard", False),
    (("Bangs", "Black_Hair", "Blond_Hair", "Brown_Hair", "Straight_Hair", "Wavy_Hair"), "Bald", False),
    (("Receding_Hairline",), "Bangs", False),
    (("Straight_Hair",), "Wavy_Hair", False),
)


def _thresholds(frequency: np.ndarray) -> np.ndarray:
    """The level that a standard normal variable exceeds with the given probability, element by element."""
    return np.array([NormalDist().inv_cdf(1 - p) for p in frequency])


def _latent_correlation(frequency: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """Correlations (k, k) of normal variables whose signs, cut at the thresholds, correlate as given.

    The covariance of two cut normals of correlation sin(a), thresholds h and k, is the integral over t from 0 to a of
    exp(-(h² + k² - 2hk sin t) / (2 cos² t)) / 2π. It grows with a, so each pair is solved by bisection.
    """
    deviation = np.sqrt(frequency * (1 - frequency))
    target = correlation * np.outer(deviation, deviation)
    h = _thresholds(frequency)
    squares, product = (h[:, None] ** 2 + h**2)[..., None], np.outer(h, h)[..., None]
    node, weight = np.polynomial.legendre.leggauss(24)
    angle, step = np.zeros_like(target), np.pi / 4
    for _ in range(40):
        t = angle[..., None] * (node + 1) / 2
        density = np.exp(-(squares - 2 * product * np.sin(t)) / (2 * np.cos(t) ** 2))
        covariance = density @ weight * angle / (4 * np.pi)
        angle, step = angle + np.where(covariance < target, step, -step), step / 2
    latent = np.sin(angle)
    np.fill_diagonal(latent, 1.0)
    return latent


def _possible(margin: np.ndarray, exclusive: bool) -> np.ndarray:
    """Labels (n, 40) bool from margins over the thresholds: of several hair colours the clearest stays, and so on."""
    labels = margin > 0
    if exclusive:
        labels[:, _HAIR] &= margin[:, _HAIR] == margin[:, _HAIR].max(axis=1, keepdims=True)
    for names, condition, value in _POSSIBLE_IF:
        for name in names:
            labels[:, _COLUMN[name]] &= labels[:, _COLUMN[condition]] == value
    return labels


@lru_cache(maxsize=2)
def _copula(exclusive: bool) -> tuple[np.ndarray, np.ndarray]:
    """The mixing matrix (40, 40) and thresholds (40,) that give CelebA's labels from independent normals.

    The pairwise solutions need not fit together: a correlation matrix near them is taken by clipping eigenvalues. The
    rules of `_possible` then take labels away: the thresholds are calibrated on a fixed sample until frequencies agree.
    """
    _, frequency, correlation = load_statistics()
    latent = _latent_correlation(frequency, correlation)
    if not exclusive:
        latent[np.ix_(_HAIR, _HAIR)] = np.eye(len(_HAIR))
    values, vectors = np.linalg.eigh(latent)
    # The symmetric root does not depend on the signs that the eigenvectors happen to come with.
    mixing = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    mixing /= np.linalg.norm(mixing, axis=0)
    wanted = _thresholds(frequency)
    threshold = wanted.copy()
    sample = np.random.default_rng(0).standard_normal((1 << 17, len(ATTRIBUTES))) @ mixing
    for _ in range(5):
        threshold += wanted - _thresholds(_possible(sample - threshold, exclusive).mean(axis=0))
    return mixing, threshold


def check_count(name: str, value: int, least: int) -> None:
    """InputError unless `value` is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name}: expected an integer of at least {least}, found {value!r}")


def sample_attributes(n: int, seed: int, exclusive: bool = True) -> np.ndarray:
    """Labels (n, 40) uint8, 0 or 1, with CelebA's frequencies and correlations, in the order of `ATTRIBUTES`.

    The first n rows are the same for every larger n. A face has at most one of the four hair colours; with
    `exclusive=False` the colours no longer know of each other, and may meet. InputError for a negative or fractional
    `n` or `seed`.

    >>> bool((sample_attributes(5, seed=1) == sample_attributes(9, seed=1)[:5]).all())
    True
    """
    check_count("n", n, 0)
    check_count("seed", seed, 0)
    mixing, threshold = _copula(bool(exclusive))
    normal = np.random.default_rng(seed).standard_normal((n, len(ATTRIBUTES)))
    return _possible(normal @ mixing - threshold, exclusive).astype(np.uint8)
