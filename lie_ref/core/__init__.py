"""The plain reference: networks, vector fields and brackets in NumPy and autograd.  README.md has the reading order."""
