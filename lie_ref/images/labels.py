"""Samples labels of synthetic faces: CelebA's 40 attributes, with CelebA's frequencies and correlations."""

from functools import lru_cache
from statistics import NormalDist

import numpy as np

from ..machine.files import data_file, read_json

_STATISTICS = read_json(data_file("attribute_statistics.json"))
ATTRIBUTES: tuple[str, ...] = tuple(_STATISTICS["attributes"])
FREQUENCY = np.array(_STATISTICS["frequency"])  # (40,): CelebA's, in the order of `ATTRIBUTES`
CORRELATION = np.array(_STATISTICS["correlation"])  # (40, 40)
HAIR = ("Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair")
_COLUMN = {name: column for column, name in enumerate(ATTRIBUTES)}
_HAIR = [_COLUMN[name] for name in HAIR]

# (attributes, condition, value): the attributes are possible only in faces whose condition has that value.
_POSSIBLE_IF = (
    (("5_o_Clock_Shadow", "Bald", "Goatee", "Mustache", "Sideburns"), "Male", True),
    (("Goatee", "Mustache", "Sideburns"), "No_Beard", False),
    (("Bangs", "Black_Hair", "Blond_Hair", "Brown_Hair", "Straight_Hair", "Wavy_Hair"), "Bald", False),
    (("Receding_Hairline",), "Bangs", False),
    (("Straight_Hair",), "Wavy_Hair", False),
)


def _thresholds(frequency: np.ndarray) -> np.ndarray:
    """The levels (k,) that a standard normal variable exceeds with the given probabilities (k,)."""
    return np.array([NormalDist().inv_cdf(1 - p) for p in frequency])


def _latent_correlation(frequency: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """Correlations (k, k) of normal variables that, cut at their thresholds, have the given `correlation`.

    The covariance of two cut normal variables with correlation sin(a) and thresholds h and k is the integral of
    exp(-(h² + k² - 2hk sin t) / (2 cos² t)) / 2π over t from 0 to a.  It increases with a, so bisection finds a.
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
    """Labels (n, 40) bool from margins over the thresholds, without impossible combinations of them."""
    labels = margin > 0
    if exclusive:
        labels[:, _HAIR] &= margin[:, _HAIR] == margin[:, _HAIR].max(axis=1, keepdims=True)
    for names, condition, value in _POSSIBLE_IF:
        for name in names:
            labels[:, _COLUMN[name]] &= labels[:, _COLUMN[condition]] == value
    return labels


@lru_cache(maxsize=2)
def _copula(exclusive: bool) -> tuple[np.ndarray, np.ndarray]:
    """The mixing matrix (40, 40) and thresholds (40,) that turn independent normal variables into CelebA's labels.

    The correlations found pair by pair need not form a correlation matrix, so negative eigenvalues are set to zero.
    `_possible` then removes labels, so the thresholds are calibrated on a fixed sample until the frequencies agree.
    """
    latent = _latent_correlation(FREQUENCY, CORRELATION)
    if not exclusive:
        latent[np.ix_(_HAIR, _HAIR)] = np.eye(len(_HAIR))
    values, vectors = np.linalg.eigh(latent)
    # The symmetric root does not depend on the arbitrary signs of the eigenvectors.
    mixing = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    mixing /= np.linalg.norm(mixing, axis=0)
    wanted = _thresholds(FREQUENCY)
    threshold = wanted.copy()
    sample = np.random.default_rng(0).standard_normal((1 << 17, len(ATTRIBUTES))) @ mixing
    for _ in range(5):
        threshold += wanted - _thresholds(_possible(sample - threshold, exclusive).mean(axis=0))
    return mixing, threshold


def sample_attributes(n: int, seed: int, exclusive: bool = True) -> np.ndarray:
    """Labels (n, 40) uint8, 0 or 1, with CelebA's frequencies and correlations, in the order of `ATTRIBUTES`.

    A larger n adds rows and leaves the first ones as they are.  A face has at most one of the four hair colours;
    with `exclusive=False` the colours are independent.

    >>> bool((sample_attributes(5, seed=1) == sample_attributes(9, seed=1)[:5]).all())
    True
    """
    mixing, threshold = _copula(bool(exclusive))
    normal = np.random.default_rng(seed).standard_normal((n, len(ATTRIBUTES)))
    return _possible(normal @ mixing - threshold, exclusive).astype(np.uint8)
