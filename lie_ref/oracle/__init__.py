"""The verification oracle: test other implementations of brackets against exact answers, and name their bugs."""

from .api import assert_agrees, load, names, reference, verify
from .layer_outputs import layers
from .request import split
from .vectors import Vector
from .verdict import Verdict

__all__ = ["Vector", "Verdict", "assert_agrees", "layers", "load", "names", "reference", "split", "verify"]
