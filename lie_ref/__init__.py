"""lie_ref: exact Lie brackets of training examples, in NumPy and autograd.

To check your own code:                 check, check_hvp, check_order, assert_brackets; oracle
Networks:                               mlp, mxresnet, preset
Fields and brackets of their examples:  gradients, hvps, brackets, batch_brackets, bracket_norms
What a bracket does:                    push_forward, swap_effects, order_value, evaluate (an Evaluation)
Fields and brackets of any function:    vector_field, lie_bracket, commutator, gradient_step,
                                        hvp_forward_over_reverse, hvp_reverse_over_reverse; optimizers
Which examples matter:                  scores, kernels, connectivity

Most have a docstring with an example.  It assumes `from lie_ref import *` and `import numpy as np`; the examples of
fields of any function assume `import numpy, autograd.numpy as np`.  The command line is `lie-ref`.  Importing lie_ref
limits OpenBLAS, and so NumPy, to one thread in this process.
"""

from .machine import starting  # noqa: F401 -- half of a second before all is imported

# isort: split
from . import oracle, primitives  # noqa: F401 -- primitives registers its rules
from .blackbox import assert_brackets, check, check_hvp, check_order
from .core import optimizers
from .core.fields import (
    commutator,
    gradient_step,
    hvp_forward_over_reverse,
    hvp_reverse_over_reverse,
    lie_bracket,
    vector_field,
)
from .core.networks import mlp, mxresnet, preset
from .machine.process import use_one_blas_thread
from .measure import connectivity, kernels, scores
from .measure.derivatives import batch_brackets, bracket_norms, brackets, gradients, hvps, push_forward, swap_effects
from .measure.evaluation import Evaluation, evaluate
from .measure.order_value import order_value

use_one_blas_thread()  # here and nowhere else, so that every entry gives the same bits on any number of processors

__version__ = "0.2.0"

__all__ = [
    "Evaluation",
    "assert_brackets",
    "batch_brackets",
    "bracket_norms",
    "brackets",
    "check",
    "check_hvp",
    "check_order",
    "commutator",
    "connectivity",
    "evaluate",
    "gradient_step",
    "gradients",
    "hvp_forward_over_reverse",
    "hvp_reverse_over_reverse",
    "hvps",
    "kernels",
    "lie_bracket",
    "mlp",
    "mxresnet",
    "optimizers",
    "oracle",
    "order_value",
    "preset",
    "push_forward",
    "scores",
    "swap_effects",
    "vector_field",
]
