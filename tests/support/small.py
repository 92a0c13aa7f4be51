"""The small run that several test modules share: its settings, and the same as options of the command line."""

from __future__ import annotations

from lie_ref.experiment.settings import Settings

SMALL = Settings(faces=400, size=16, steps=12)
SMALL_OPTIONS = ("--faces", "400", "--size", "16", "--steps", "12")  # the same for the command line
