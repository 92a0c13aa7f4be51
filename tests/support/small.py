"""The settings of the small run that several test modules share, also as options of the command line."""

from __future__ import annotations

from lie_ref.experiment.settings import Settings

SMALL = Settings(faces=400, size=16, steps=12, batch=100)  # 320 images train: three mini-batches a pass
SMALL_OPTIONS = ("--faces", "400", "--size", "16", "--steps", "12", "--batch", "100")
