"""The image cache: worker processes build it in row order or not at all, and it is read or refused in one line."""

from __future__ import annotations

import functools
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from processes import in_own_group, living, wait_until

from lie_ref.images.dataset import SPLITS, Dataset, build_cache, check_splits, load_cache, split_in_order
from lie_ref.machine.errors import InputError
from lie_ref.machine.files import read_npz

SIZE, ROWS, NAMES = 6, range(400), ("odd", "third")
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def picture(row: int) -> np.ndarray:
    return np.random.default_rng(row).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def picture_or_bad(bad: Sequence[int], row: int) -> np.ndarray:
    if row in bad:
        raise InputError(f"{row:03}.jpg: not an image")
    return picture(row)


def slow_picture(row: int) -> np.ndarray:
    time.sleep(0.005)
    return picture(row)


def die(row: int) -> np.ndarray:
    if row == 40:
        os.kill(os.getpid(), signal.SIGKILL)  # as the system does when memory runs out
    return picture(row)


def planned(folder: Path, n: int = 400) -> Dataset:
    files = np.array([f"{row:03}.jpg" for row in range(n)])
    labels = np.array([[row % 2, row % 3 == 0] for row in range(n)], np.uint8)
    fields = ("pictures", NAMES, files, labels, split_in_order(n), folder / "images.npy", SIZE)
    return Dataset(*fields, listed=n + 5, notes=("five are missing",))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return build_cache(planned(tmp_path_factory.mktemp("caches") / "cache"), picture, ROWS)


@pytest.fixture
def folder(dataset: Dataset, tmp_path: Path) -> Path:
    """A copy of the cache, to be damaged."""
    return shutil.copytree(dataset.images.parent, tmp_path / "cache")


# --- contents


def test_a_cache_holds_the_planned_table_and_the_images_in_row_order(dataset):
    plan = planned(dataset.images.parent)
    for found in (dataset, load_cache(dataset.images.parent, NAMES)):
        for field in ("name", "attributes", "images", "size", "listed", "skipped", "notes"):
            assert getattr(found, field) == getattr(plan, field)
        for field in ("files", "labels", "split"):
            np.testing.assert_array_equal(getattr(found, field), getattr(plan, field), strict=True)
    np.testing.assert_array_equal(np.load(dataset.images), [picture(row) for row in range(400)], strict=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_batch_scales_pixels_to_minus_one_to_one_with_channels_first(dataset, dtype):
    x, y = dataset.batch(np.arange(400)[::-1], dtype)
    assert x.dtype == y.dtype == dtype
    assert x.shape == (400, 3, SIZE, SIZE)
    assert x.transpose(0, 2, 3, 1).flags.c_contiguous
    assert (x.min(), x.max()) == (-1, 1)
    expected = np.array([picture(row) for row in range(400)])[::-1].transpose(0, 3, 1, 2) / 127.5 - 1
    np.testing.assert_allclose(x, expected, rtol=0, atol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(y[-3:], [[0, 0], [1, 0], [0, 1]])


@linux
def test_batch_keeps_no_mapping_open(dataset):
    dataset.batch(dataset.indices("train"))
    assert str(dataset.images) not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize(("n", "sizes"), [(400, [320, 40, 40]), (1237, [989, 124, 124])])
def test_split_in_order_is_80_10_10_and_uses_every_row(tmp_path, n, sizes):
    parts = [planned(tmp_path, n).indices(split) for split in SPLITS]
    assert [len(part) for part in parts] == sizes
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(n))
    with pytest.raises(ValueError, match="split: expected one of train, validation, test, got 'valid'"):
        planned(tmp_path, n).indices("valid")


TOO_SMALL = [
    ((0, 9, 40), r"no image of 49 is in the train split \(0\)"),
    ((9, 0, 40), r"no image of 49 is in the validation split \(1\)"),
    ((9, 9, 0), r"no image of 18 is in the test split \(2\)"),
    ((9, 9, 31), "the test split has 31 images, expected at least 32"),
]


@pytest.mark.parametrize(("counts", "said"), TOO_SMALL)
def test_a_split_that_is_too_small_is_refused_by_name(counts, said):
    check_splits("partition.txt", np.repeat(np.arange(3), np.maximum(counts, (1, 1, 32))))
    with pytest.raises(InputError, match=f"^partition.txt: {said}$"):
        check_splits("partition.txt", np.repeat(np.arange(3), counts))


# --- images that cannot be read


FIRST_BAD = r"^111\.jpg: not an image \(--skip-bad leaves such images out\)$"
TOO_FEW = r"^pictures \(9 of 400 .* 360\.jpg.*\): the test split has 31 images"


@pytest.mark.parametrize(("bad", "said"), [((390, 111, 112), FIRST_BAD), (range(360, 369), TOO_FEW)])
def test_bad_images_that_stop_a_build_leave_nothing_behind(tmp_path, bad, said):
    with pytest.raises(InputError, match=said):
        build_cache(planned(tmp_path / "new" / "cache"), functools.partial(picture_or_bad, bad), ROWS, said == TOO_FEW)
    assert not list(tmp_path.iterdir())


def test_skipped_images_are_dropped_counted_and_named(tmp_path):
    bad = (0, 31, 32, 200, 399)
    plan = planned(tmp_path / "cache")
    dataset = build_cache(plan, functools.partial(picture_or_bad, bad), ROWS, skip_bad=True)
    kept = [row for row in range(400) if row not in bad]
    assert (len(dataset), dataset.skipped, dataset.listed) == (395, 5, 405)
    assert dataset.notes[-1] == "5 of 400 images skipped because they cannot be read, the first: 000.jpg: not an image"
    np.testing.assert_array_equal(np.load(dataset.images), [picture(row) for row in kept])
    for field in ("files", "labels", "split"):
        np.testing.assert_array_equal(getattr(dataset, field), getattr(plan, field)[kept])


# --- builds that fail


def test_a_killed_worker_is_an_error_that_names_its_images(tmp_path):
    with pytest.raises(InputError, match=r"^032\.jpg to 063\.jpg: a worker process ended: [^\n]*$"):
        build_cache(planned(tmp_path / "cache"), die, ROWS)
    assert not list(tmp_path.iterdir())


def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: cannot be made a folder \\(File exists\\)"):
        build_cache(planned(tmp_path / "file" / "cache"), picture, ROWS)


def test_a_cache_that_another_process_finished_first_is_kept(folder):
    (folder / "mark").write_text("first")
    build_cache(planned(folder), picture, ROWS)
    assert (folder / "mark").read_text() == "first"
    assert [path.name for path in folder.parent.iterdir()] == ["cache"]


def slow_build_of(folder: Path, rows: Sequence[int], built: list[str]) -> None:
    build_cache(planned(folder, len(rows)), slow_picture, rows)
    built.append((folder / "images.npy").read_bytes()[:200].hex())


def test_two_builds_of_one_cache_give_it_once_and_the_second_waits_with_a_line(tmp_path, capfd):
    built: list[str] = []
    both = [threading.Thread(target=slow_build_of, args=(tmp_path / "cache", ROWS, built)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(built) == 2
    assert len(set(built)) == 1
    lines = capfd.readouterr().err.splitlines()
    assert sum(line.startswith("preparing images") for line in lines) == 1
    assert [line for line in lines if line.startswith(f"lie-ref: waiting for {tmp_path / 'cache'}, in use by process")]
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_what_killed_builds_left_is_removed_when_it_is_a_day_old(tmp_path):
    for days in (0, 2):
        images = tmp_path / f".other.part-{days}" / "other" / "images.npy"
        images.parent.mkdir(parents=True)
        images.write_bytes(b"")
        os.utime(images, (time.time() - 86_400 * days,) * 2)
    (tmp_path / ".cache.lock").write_text("process 1 on a host that is gone")
    build_cache(planned(tmp_path / "cache"), picture, ROWS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.part-0", "cache"]


BUILD = f"from {__name__} import build_slowly; build_slowly()"


def build_slowly() -> None:
    """The program of the tests below, which interrupt it."""
    try:
        build_cache(planned(Path(sys.argv[1]), 20_000), slow_picture, range(20_000))
    except KeyboardInterrupt:
        sys.exit(130)


@pytest.fixture(params=["writing", "starting"])
def slow_build(request: pytest.FixtureRequest, tmp_path: Path) -> subprocess.Popen:
    """A build in its own process group, as in a shell, that writes images or is still starting its workers."""
    process = in_own_group(BUILD, tmp_path / "cache")
    if request.param == "starting":
        assert wait_until(lambda: living(process.pid) >= 2)
    else:
        assert wait_until(lambda: any(file.stat().st_size > 128 for file in tmp_path.glob(".cache.*/cache/images.npy")))
    return process


@linux
def test_ctrl_c_leaves_no_cache_no_workers_and_no_tracebacks(slow_build, tmp_path):
    os.killpg(slow_build.pid, signal.SIGINT)
    assert slow_build.communicate(timeout=20)[1] == ""
    assert slow_build.returncode == 130
    assert not list(tmp_path.iterdir())
    assert wait_until(lambda: not living(slow_build.pid))


@linux
def test_a_killed_build_leaves_no_workers_and_no_cache(slow_build, tmp_path):
    slow_build.kill()
    slow_build.wait()
    assert wait_until(lambda: not living(slow_build.pid))
    assert not (tmp_path / "cache").exists()


# --- refused caches


class Bomb:
    def __reduce__(self) -> tuple:
        return (os.mkdir, ("unpickled",))


def refusal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(folder)
    with pytest.raises(InputError) as caught:
        load_cache(folder, NAMES)
    assert not Path("unpickled").exists()
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(f"; delete {folder} and it is built anew")
    return message.removeprefix(f"{folder}/")


# fmt: off
DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "a text": lambda path: path.write_text("hello, I am a text file\n" * 100),
    "a pickle": lambda path: path.write_bytes(pickle.dumps(Bomb())),
    **{f"cut to {share}": lambda path, share=share: os.truncate(path, int(share * path.stat().st_size))
       for share in (0.0, 0.001, 0.5, 0.999)},
}
CONTENTS: list[tuple[str, object]] = [  # the images, or arrays of the table
    ("images.npy: missing, cut short or not an image cache", np.array([Bomb()], object)),
    ("images.npy: uint8 (399, 6, 6, 3), expected uint8 (400, 6, 6, 3)", np.zeros((399, 6, 6, 3), np.uint8)),
    ("images.npy: int8 (400, 6, 6, 3), expected uint8 (400, 6, 6, 3)", np.zeros((400, 6, 6, 3), np.int8)),
    ("table.npz: damaged or not an .npz archive of plain arrays", {"labels": np.array([Bomb()], object)}),
    ("table.npz: format 'lie-ref-cache/0', expected 'lie-ref-cache/1'", {"meta": '{"format": "lie-ref-cache/0"}'}),
    *(("table.npz: not the table of an image cache", {"meta": meta}) for meta in ("{}", "[]", '"text"')),
    ("table.npz: meta: cannot be read as JSON", {"meta": ""}),
]
# fmt: on


@pytest.mark.parametrize("file", ["images.npy", "table.npz"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_of_a_cache_is_named(folder, file, damage, monkeypatch):
    DAMAGES[damage](folder / file)
    assert refusal(folder, monkeypatch).startswith(f"{file}: ")


@pytest.mark.parametrize(("said", "content"), CONTENTS)
def test_a_cache_with_other_contents_is_refused(folder, said, content, monkeypatch):
    if isinstance(content, dict):
        np.savez(folder / "table.npz", **(read_npz(folder / "table.npz") | content))
    else:
        np.save(folder / "images.npy", content)
    assert refusal(folder, monkeypatch).startswith(said)


def with_one(array: np.ndarray, value: object) -> np.ndarray:
    array = array.copy()
    array.flat[7] = value
    return array


def of_meta(**changes: object) -> Callable[[np.ndarray], np.ndarray]:
    return lambda meta: np.array(json.dumps(json.loads(str(meta)) | changes))


# fmt: off
UNSOUND: list[tuple[str, Callable[[np.ndarray], np.ndarray], str]] = [
    ("labels", lambda labels: with_one(labels, 7), "labels: expected 0 to 1, found 7"),
    ("labels", lambda labels: with_one(labels.astype(float), np.nan), "labels: float64 (400, 2), expected uint8 (400,"),
    ("labels", lambda labels: labels.astype(np.int64) * 2 - 1, "labels: int64 (400, 2), expected uint8 (400, 2)"),
    ("labels", lambda labels: labels[:, :1], "labels: uint8 (400, 1), expected uint8 (400, 2)"),
    ("labels", lambda labels: labels[:-1], "labels: uint8 (399, 2), expected uint8 (400, 2)"),
    ("labels", lambda labels: labels[:, 0], "labels: uint8 (400,), expected uint8 (400, 2)"),
    ("split", lambda split: with_one(split, 3), "split: expected 0 to 2, found 3"),
    ("split", lambda split: split.astype(np.int8), "split: int8 (400,), expected uint8 (400,)"),
    ("split", lambda split: split[:9], "split: uint8 (9,), expected uint8 (400,)"),
    ("split", lambda split: np.minimum(split, 1), "no image of 400 is in the test split (2)"),
    ("split", lambda split: np.where(np.arange(400) < 380, 1, split).astype(np.uint8), "no image of 400 is in the tra"),
    ("files", lambda files: np.arange(400), "files: int64 (400,), expected text (400,)"),
    ("files", lambda files: files[:0], "labels: uint8 (400, 2), expected uint8 (0, 2)"),
    ("meta", of_meta(attributes=["odd", "odd"]), "attributes: expected the 2 of pictures, found ('odd', 'odd')"),
    ("meta", of_meta(attributes=["third", "odd"]), "attributes: expected the 2 of pictures, found ('third', 'odd')"),
    ("meta", of_meta(attributes=None), "not the table of an image cache"),
    ("meta", of_meta(size=True), "size, listed, skipped: expected counts that fit 400 images, found (True, 405, 0)"),
    ("meta", of_meta(listed=399), "size, listed, skipped: expected counts that fit 400 images, found (6, 399, 0)"),
    ("meta", of_meta(skipped=-1), "size, listed, skipped: expected counts that fit 400 images, found (6, 405, -1)"),
    ("meta", of_meta(notes=["\x1b[2J"]), "name, notes: expected printable text"),
    ("meta", of_meta(name=7), "name, notes: expected printable text"),
    ("extra", lambda _: np.zeros(3), "not the table of an image cache"),
]
# fmt: on


@pytest.mark.parametrize(("key", "change", "said"), UNSOUND, ids=[f"{key}: {said}" for key, _, said in UNSOUND])
def test_a_cache_with_content_that_no_build_writes_is_refused(folder, key, change, said, monkeypatch):
    table = read_npz(folder / "table.npz")
    np.savez(folder / "table.npz", **(table | {key: change(table.get(key))}))
    assert refusal(folder, monkeypatch).startswith(f"table.npz: {said}")


@pytest.mark.filterwarnings("ignore")  # NumPy warns of odd headers
def test_changed_bytes_in_the_header_of_the_images_are_refused_or_harmless(folder):
    whole = (folder / "images.npy").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        content = np.frombuffer(whole, np.uint8).copy()
        content[rng.integers(0, 128, rng.integers(1, 4))] = rng.integers(0, 256)
        (folder / "images.npy").write_bytes(content.tobytes())
        try:
            assert load_cache(folder, NAMES).size == SIZE
        except InputError:
            refused += 1
    assert refused > 300


def test_an_image_file_cut_short_after_loading_is_named_by_batch(folder):
    dataset = load_cache(folder, NAMES)
    os.truncate(dataset.images, 1000)
    with pytest.raises(InputError, match=r"images\.npy: .*cut short"):
        dataset.batch(np.arange(3))
