"""The verification oracle: test other implementations of brackets against exact answers, and name their bugs."""

from .vectors import Vector
from .verdict import Verdict
from .verification import assert_agrees, load, names, reference, verify

__all__ = ["Vector", "Verdict", "assert_agrees", "load", "names", "reference", "verify"]
