"""Checks the brackets of any network in any framework, from nothing but a function that computes its gradient."""

from .api import assert_brackets, check, check_hvp
from .order import check_order

__all__ = ["assert_brackets", "check", "check_hvp", "check_order"]
