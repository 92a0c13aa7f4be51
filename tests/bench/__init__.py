"""Measures how fast lie_ref is beside PyTorch, JAX and this machine's own matrix products."""
