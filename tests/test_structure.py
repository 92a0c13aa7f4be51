"""The house keeps its shape: which room imports which, what crosses between rooms, and how large everything may be."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from walk import PACKAGE, Walk, imports, modules

import lie_ref

TESTS = Path(__file__).parent
# Each room, a module or folder directly in lie_ref/, and the rooms that it may import.
BELOW = {
    "machine": (),
    "core": (),
    "primitives": (),
    "fast": ("core", "machine"),
    "images": ("machine",),
    "measure": ("core", "fast", "machine"),
    "oracle": ("core", "fast", "machine"),
    "blackbox": ("core", "machine", "oracle"),
    "study": ("core", "fast", "images", "machine"),
    "experiment": ("core", "fast", "images", "machine", "measure", "study"),
    "diet": ("core", "fast", "images", "machine", "measure", "study"),
    "": ("blackbox", "core", "machine", "measure", "oracle", "primitives"),  # the package itself, with the public names
    "all_pairs": ("core", "fast", "machine", "measure", "oracle"),
    "cli": ("all_pairs", "blackbox", "core", "diet", "experiment", "images", "machine", "oracle"),
    "__main__": ("cli",),
}
BESIDE = {"bench", "browser", "certificates", "peers", "support"}  # folders of tests that mirror no room
MODULES = modules()


def room(module: str) -> str:
    return module.partition(".")[0]


def crossings() -> Iterator[tuple[str, str, str]]:
    """(module, imported module, imported name) of each import from another room."""
    for name, tree in MODULES.items():
        for module, there, _ in imports(name, tree, MODULES):
            if room(module) != room(name):
                yield name, module, there


def test_each_room_imports_only_the_rooms_below_it() -> None:
    assert {room(name) for name in MODULES} == set(BELOW)
    assert len(BELOW) <= 15
    upward = [(name, module) for name, module, _ in crossings() if room(module) not in BELOW[room(name)]]
    assert not upward


def test_the_rooms_stand_on_at_most_8_floors() -> None:
    floors: dict[str, int] = {}
    for name in TopologicalSorter(BELOW).static_order():  # raises CycleError for a circle
        floors[name] = 1 + max((floors[other] for other in BELOW[name]), default=0)
    assert max(floors.values()) <= 8


def test_no_circle_of_modules() -> None:
    graph = {name: {module for module, _, _ in imports(name, tree, MODULES)} for name, tree in MODULES.items()}
    for name, parents in graph.items():
        parents.discard(name)  # a package whose __init__ imports from its own modules
    TopologicalSorter(graph).prepare()


def test_core_imports_numpy_and_autograd_and_nothing_else() -> None:
    for name, tree in MODULES.items():
        for node in ast.walk(tree) if room(name) == "core" else ():
            absolute = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            absolute += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in absolute:
                assert room(str(module)) in {"numpy", "autograd", *sys.stdlib_module_names}, (name, module)


def test_no_room_imports_a_private_name_of_another() -> None:
    private = [c for c in crossings() if any(part.startswith("_") for part in (*c[1].split("."), c[2]) if part)]
    assert [c for c in private if c[0] != "__main__"] == []


def test_tests_lie_in_folders_that_mirror_the_package() -> None:
    folders = {path.relative_to(TESTS).parts[:-1] for path in TESTS.rglob("test_*.py")}
    assert {parts[0] for parts in folders if parts} <= {room(name) for name in MODULES} | BESIDE
    for parts in folders:
        assert not parts or parts[0] in BESIDE or (PACKAGE / Path(*parts)).is_dir()


@pytest.mark.parametrize(("folder", "most"), [(PACKAGE / "core", 1_100), (PACKAGE, 16_755), (TESTS, 23_445)])
def test_the_code_stays_within_its_budget_of_lines(folder: Path, most: int) -> None:
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.py"))
    assert 0 < lines <= most


def test_params_pass_through_at_most_5_functions_on_their_way_into_brackets() -> None:
    walk = Walk(attributes=()).enter(("measure.derivatives", "brackets"), "params")
    assert 1 < len(walk.passed) <= 5, sorted(walk.passed)


def test_pixels_pass_through_at_most_30_functions_on_their_way_from_the_file_to_the_heat_map() -> None:
    walk = Walk(attributes=("x", "x_eval", "groups", "logit_delta"))
    on_the_way = "images.dataset", "experiment.examination", "core.problem", "measure.evaluation", "experiment.page"
    walk.passed = {function: set() for function in walk.functions if function[0] in (*on_the_way, "fast.engine")}
    walk.enter(("images.pictures", "centre_square"), returns=True)  # Pillow's image becomes an array of pixels
    walk.enter(("images.dataset", "_decode_rows"), "pixels", returns=True)
    walk.enter(("images.dataset", "Dataset.batch"), "x", returns=True)
    walk.enter(("fast.sweeps", "channels_last"), "x", returns=True)
    walk.enter(("measure.evaluation", "_swaps"), "delta")  # the changes of the logits
    assert 20 < walk.count() <= 30, sorted(function for function, names in walk.passed.items() if names)


def test_the_help_of_the_package_lists_every_public_name() -> None:
    assert set(lie_ref.__all__) <= set(re.findall(r"\w+", lie_ref.__doc__ or ""))
