"""Known bugs."""
