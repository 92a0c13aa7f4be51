"""The names of the array types that every module uses."""

import numpy as np

Array = np.ndarray
Arrays = dict[str, Array]  # parameters, gradients, brackets, …: tensor name -> array
Shapes = dict[str, tuple[int, ...]]
