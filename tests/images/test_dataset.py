"""The image cache: built in order by worker processes, all or nothing, and read back or refused with one line."""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lie_ref.images.dataset import FORMAT, SPLITS, Dataset, build_cache, check_splits, load_cache, split_in_order
from lie_ref.machine.errors import InputError
from lie_ref.machine.files import read_npz

SIZE = 6
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def picture(row: int) -> np.ndarray:
    return np.random.default_rng(row).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def picture_or_bad(bad: tuple[int, ...], row: int) -> np.ndarray:
    if row in bad:
        raise InputError(f"{row:03}.jpg: not an image")
    return picture(row)


def die(row: int) -> np.ndarray:
    os._exit(9)


def planned(folder: Path, n: int = 400) -> Dataset:
    return Dataset(
        name="pictures",
        attributes=("odd", "third"),
        files=np.array([f"{row:03}.jpg" for row in range(n)]),
        labels=np.array([[row % 2, row % 3 == 0] for row in range(n)], np.uint8),
        split=split_in_order(n),
        images=folder / "images.npy",
        size=SIZE,
        listed=n + 5,
        notes=("five are absent",),
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return build_cache(planned(tmp_path_factory.mktemp("caches") / "cache"), picture)


@pytest.fixture
def folder(dataset: Dataset, tmp_path: Path) -> Path:
    """A copy of the cache, to be damaged."""
    copy = tmp_path / "cache"
    copy.mkdir()
    for file in dataset.images.parent.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def change_table(folder: Path, **arrays: np.ndarray) -> None:
    np.savez(folder / "table.npz", **(read_npz(folder / "table.npz") | arrays))


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_cache(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    assert message.endswith(f"delete {folder} and it is built anew")
    return message


# --- what is in a data set


def test_images_stand_in_the_order_of_the_rows(dataset: Dataset) -> None:
    pixels = np.load(dataset.images)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, [picture(row) for row in range(400)])


def test_cache_reads_back_as_it_was_built(dataset: Dataset) -> None:
    again, plan = load_cache(dataset.images.parent), planned(dataset.images.parent)
    for found in (dataset, again):
        for field in ("name", "attributes", "images", "size", "listed", "skipped", "notes"):
            assert getattr(found, field) == getattr(plan, field)
        for field in ("files", "labels", "split"):
            np.testing.assert_array_equal(getattr(found, field), getattr(plan, field), strict=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_batch_scales_pixels_to_minus_one_to_one_with_channels_first(dataset: Dataset, dtype: type) -> None:
    rows = np.array([7, 399, 0])
    x, y = dataset.batch(rows, dtype)
    assert x.dtype == y.dtype == dtype
    assert x.shape == (3, 3, SIZE, SIZE)
    assert x.transpose(0, 2, 3, 1).flags.c_contiguous
    expected = np.array([picture(row) for row in rows]).transpose(0, 3, 1, 2) / 127.5 - 1
    np.testing.assert_allclose(x, expected, rtol=0, atol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(y, [[1, 0], [1, 1], [0, 1]])


def test_extreme_pixels_become_exactly_minus_one_and_one(tmp_path: Path) -> None:
    dataset = build_cache(planned(tmp_path / "cache"), functools.partial(np.full, (SIZE, SIZE, 3)))
    x, _ = dataset.batch(np.array([0, 255]))
    assert (x[0] == -1).all()
    assert (x[1] == 1).all()


@linux
def test_batch_keeps_no_mapping_open(dataset: Dataset) -> None:
    dataset.batch(dataset.indices("train"))
    assert str(dataset.images) not in Path("/proc/self/maps").read_text()


def test_splits_are_the_rows_80_10_10_in_order(dataset: Dataset) -> None:
    parts = [dataset.indices(split) for split in SPLITS]
    assert [len(part) for part in parts] == [320, 40, 40]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(400))


def test_split_of_an_uneven_number_uses_every_row() -> None:
    assert np.bincount(split_in_order(1237)).tolist() == [989, 124, 124]


def test_unknown_split_names_the_known_ones(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="expected one of train, validation, test, got 'valid'"):
        dataset.indices("valid")


@pytest.mark.parametrize(("counts", "said"), [((0, 9, 40), "train"), ((9, 0, 40), "validation"), ((9, 9, 0), "test")])
def test_empty_split_is_refused_by_name(counts: tuple[int, ...], said: str) -> None:
    with pytest.raises(InputError, match=f"partition.txt: no image of .* is in the {said} split"):
        check_splits("partition.txt", np.repeat(np.arange(3), counts))


def test_fewer_than_32_test_images_are_refused_and_32_are_not() -> None:
    check_splits("partition.txt", np.repeat(np.arange(3), (9, 9, 32)))
    with pytest.raises(InputError, match=r"partition\.txt: the test split has 31 images, expected at least 32"):
        check_splits("partition.txt", np.repeat(np.arange(3), (9, 9, 31)))


# --- images that cannot be read


def test_first_bad_image_is_raised_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^111\.jpg: not an image \(--skip-bad leaves such images out\)$"):
        build_cache(planned(tmp_path / "cache"), functools.partial(picture_or_bad, (390, 111, 112)))
    assert not list(tmp_path.iterdir())


def test_skipped_images_are_dropped_counted_and_named(tmp_path: Path) -> None:
    bad = (0, 31, 32, 200, 399)
    dataset = build_cache(planned(tmp_path / "cache"), functools.partial(picture_or_bad, bad), skip_bad=True)
    kept = [row for row in range(400) if row not in bad]
    assert (len(dataset), dataset.skipped, dataset.listed) == (395, 5, 405)
    assert dataset.notes[-1] == "5 of 400 images skipped because they cannot be read, the first: 000.jpg: not an image"
    np.testing.assert_array_equal(np.load(dataset.images), [picture(row) for row in kept])
    plan = planned(tmp_path / "cache")
    for field in ("files", "labels", "split"):
        np.testing.assert_array_equal(getattr(dataset, field), getattr(plan, field)[kept])


def test_skipping_may_not_leave_too_few_test_images(tmp_path: Path) -> None:
    bad = tuple(range(360, 369))
    with pytest.raises(InputError, match=r"pictures \(9 of 400 .* 360\.jpg.*\): the test split has 31 images"):
        build_cache(planned(tmp_path / "cache"), functools.partial(picture_or_bad, bad), skip_bad=True)
    assert not list(tmp_path.iterdir())


# --- builds that do not end well


def test_dead_worker_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        build_cache(planned(tmp_path / "cache"), die)
    assert not list(tmp_path.iterdir())


def test_cache_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/cache: the cache cannot be written: "):
        build_cache(planned(tmp_path / "file" / "cache"), picture)


def test_cache_that_another_process_finished_first_is_kept(folder: Path) -> None:
    (folder / "mark").write_text("first")
    build_cache(planned(folder), picture)
    assert (folder / "mark").read_text() == "first"
    assert [path.name for path in folder.parent.iterdir()] == ["cache"]


SLOW_BUILD = """
import multiprocessing, sys, time
from pathlib import Path
import numpy as np
from lie_ref.images.dataset import Dataset, build_cache, split_in_order

def slow(row):
    time.sleep(0.005)
    return np.zeros((6, 6, 3), np.uint8)

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    n = 20_000
    plan = Dataset("slow", (), np.arange(n).astype(str), np.zeros((n, 0), np.uint8), split_in_order(n),
                   Path(sys.argv[2]) / "cache" / "images.npy", 6, n)
    try:
        build_cache(plan, slow)
    except KeyboardInterrupt:
        print("interrupted")
        sys.exit(130)
"""


def living(group: int) -> int:
    """The number of processes of a group; a dead one that nobody waited for does not count."""
    count = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, process_group = file.read_text().rpartition(")")[2].split()[:3]
            count += int(process_group) == group and state != "Z"
    return count


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


@pytest.fixture(params=["fork", "forkserver", "spawn", "spawn, still starting"])
def slow_build(request: pytest.FixtureRequest, tmp_path: Path) -> subprocess.Popen:
    """A build in a process group of its own, as a shell starts one, that writes images or starts its workers."""
    method, _, starting = request.param.partition(", ")
    (tmp_path / "build.py").write_text(SLOW_BUILD)
    caches = tmp_path / "caches"
    caches.mkdir()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, tmp_path / "build.py", method, caches],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment,
    )
    if starting:
        assert wait_until(lambda: living(process.pid) >= 3)  # the build, the tracker that spawning needs, a worker
    else:
        assert wait_until(lambda: any(file.stat().st_size > 128 for file in caches.glob(".cache.*/images.npy")))
    return process


@linux
def test_ctrl_c_leaves_no_cache_no_workers_and_no_tracebacks(slow_build: subprocess.Popen, tmp_path: Path) -> None:
    os.killpg(slow_build.pid, signal.SIGINT)
    out, err = slow_build.communicate(timeout=20)
    assert slow_build.returncode == 130
    assert out == "interrupted\n"
    assert err == ""
    assert not list((tmp_path / "caches").iterdir())
    assert wait_until(lambda: not living(slow_build.pid))


@linux
def test_workers_of_a_killed_build_end_and_the_cache_is_not_there(slow_build: subprocess.Popen, tmp_path: Path) -> None:
    slow_build.kill()
    slow_build.wait()
    assert wait_until(lambda: not living(slow_build.pid))
    assert not (tmp_path / "caches" / "cache").exists()


# --- caches that are refused


@pytest.mark.parametrize("file", ["images.npy", "table.npz"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_cache_cut_short_is_refused(folder: Path, file: str, share: float) -> None:
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: int(share * len(content))])
    assert str(folder / file) in refusal(folder)


@pytest.mark.parametrize("file", ["images.npy", "table.npz"])
def test_cache_with_a_missing_file_is_refused(folder: Path, file: str) -> None:
    (folder / file).unlink()
    assert f"{folder / file}: no such file" in refusal(folder)


@pytest.mark.parametrize("file", ["images.npy", "table.npz"])
def test_foreign_file_in_a_cache_is_refused(folder: Path, file: str) -> None:
    (folder / file).write_text("hello, I am a text file\n" * 100)
    assert str(folder / file) in refusal(folder)


class Bomb:
    def __reduce__(self) -> tuple:
        return (os.mkdir, ("unpickled",))


@pytest.mark.parametrize("file", ["images.npy", "table.npz"])
def test_pickle_in_a_cache_is_never_run(folder: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / file).write_bytes(pickle.dumps(Bomb()))
    refusal(folder)
    assert not (folder / "unpickled").exists()


def test_pickled_arrays_in_a_cache_are_never_unpickled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    change_table(folder, labels=np.array([Bomb()], object))
    assert "table.npz" in refusal(folder)
    np.save(folder / "images.npy", np.array([Bomb()], object))
    refusal(folder)
    assert not (folder / "unpickled").exists()


def test_cache_of_another_format_version_is_refused(folder: Path) -> None:
    meta = str(read_npz(folder / "table.npz")["meta"]).replace(FORMAT, "lie-ref-cache/0")
    change_table(folder, meta=np.array(meta))
    assert "table.npz: format 'lie-ref-cache/0', expected 'lie-ref-cache/1'" in refusal(folder)


@pytest.mark.parametrize("meta", ["", "{}", "[]", '"text"'])
def test_archive_that_is_not_a_cache_table_is_refused(folder: Path, meta: str) -> None:
    change_table(folder, meta=np.array(meta))
    assert "table.npz: not the table of an image cache" in refusal(folder)


def test_archive_without_meta_is_refused(folder: Path) -> None:
    np.savez(folder / "table.npz", weights=np.zeros(3))
    assert "table.npz: not the table of an image cache" in refusal(folder)


def test_single_array_in_place_of_the_table_is_refused(folder: Path) -> None:
    with (folder / "table.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    assert "damaged or not an .npz archive of plain arrays (File is not a zip file)" in refusal(folder)


@pytest.mark.parametrize("images", [np.zeros((399, 6, 6, 3), np.uint8), np.zeros((400, 6, 6, 3), np.int8)])
def test_images_of_another_shape_or_dtype_are_refused(folder: Path, images: np.ndarray) -> None:
    np.save(folder / "images.npy", images)
    assert "images.npy: " in refusal(folder)


@pytest.mark.filterwarnings("ignore")  # NumPy's own, of headers that it half understands
def test_changed_bytes_in_the_header_of_the_images_are_refused_or_change_nothing(folder: Path) -> None:
    whole = (folder / "images.npy").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        content = np.frombuffer(whole, np.uint8).copy()
        content[rng.integers(0, 128, rng.integers(1, 4))] = rng.integers(0, 256)
        (folder / "images.npy").write_bytes(content.tobytes())
        try:
            assert load_cache(folder).size == SIZE
        except InputError:
            refused += 1
    assert refused > 300


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": np.zeros((399, 2), np.uint8)}, "labels: uint8 (399, 2), expected uint8 (400, 2)"),
        ({"labels": np.zeros((400, 3), np.uint8)}, "labels: uint8 (400, 3), expected uint8 (400, 2)"),
        ({"labels": np.zeros((400, 2), np.int64)}, "labels: int64 (400, 2), expected uint8 (400, 2)"),
        ({"split": np.zeros(401, np.uint8)}, "split: uint8 (401,), expected uint8 (400,)"),
        ({"split": np.zeros(400)}, "split: float64 (400,), expected uint8 (400,)"),
        ({"files": np.array(["a.jpg"] * 399)}, "labels: uint8 (400, 2), expected uint8 (399, 2)"),
    ],
)
def test_arrays_of_a_table_that_do_not_belong_together_are_refused(
    folder: Path, changes: dict[str, np.ndarray], said: str
) -> None:
    change_table(folder, **changes)
    assert refusal(folder).startswith(f"{folder / 'table.npz'}: {said}")


def test_image_file_cut_short_after_loading_is_named_by_the_batch(folder: Path) -> None:
    dataset = load_cache(folder)
    os.truncate(dataset.images, 1000)
    with pytest.raises(InputError, match=r"images\.npy: cut short"):
        dataset.batch(np.arange(3))
