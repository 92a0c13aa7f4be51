"""The data diet: which examples matter, found by scores and tried by training without the others."""
