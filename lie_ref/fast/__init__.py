"""The same answers, quicker."""
