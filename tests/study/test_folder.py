"""A study's folder has a record of how the study was made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lie_ref.machine.errors import InputError
from lie_ref.study import folder
from lie_ref.study.folder import recorded


def test_the_seconds_of_all_starts_are_added_and_those_of_a_stop_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(folder, "monotonic", lambda: now)
    for took, stopped in ((5.0, False), (7.0, True)):
        try:
            with recorded(tmp_path, "lie-ref diet") as record:
                record()
                now += took
                if stopped:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass
    assert json.loads((tmp_path / "record.json").read_text())["seconds"] == 12


def test_a_study_that_could_not_begin_has_no_record(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images"), recorded(tmp_path, "lie-ref diet"):
        raise InputError("no images")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"seconds": "long"}', '{"seconds": null}'])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(InputError, match=r"record\.json: "), recorded(tmp_path, "lie-ref diet"):
        pass
