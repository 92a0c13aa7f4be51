"""Certificates: recomputes the outputs of the shipped test vectors in higher precision, by independent code."""
