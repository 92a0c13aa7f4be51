"""Follows a value through the package's functions, by reading their code: which functions is it handed to?"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "lie_ref"
Function = tuple[str, str]  # module, such as "fast.engine", and name, with its class in front


def modules() -> dict[str, ast.Module]:
    """The modules of the package: dotted name below `lie_ref` → its code ("" is the package itself)."""
    paths = {path: path.relative_to(PACKAGE).with_suffix("").parts for path in sorted(PACKAGE.rglob("*.py"))}
    named = {path: ".".join(parts[:-1] if parts[-1] == "__init__" else parts) for path, parts in paths.items()}
    return {name: ast.parse(path.read_text(encoding="utf-8")) for path, name in named.items()}


def imports(name: str, tree: ast.Module, known: dict[str, ast.Module]) -> Iterator[tuple[str, str, str]]:
    """(module, name there or "", name here) of each import from the package."""
    package = name if name in ("", *(k.rpartition(".")[0] for k in known)) else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = package.split(".") if package else []
            base = parts[: len(parts) - node.level + 1]
            for alias in node.names:
                module = ".".join([*base, *([node.module] if node.module else [])])
                inner = f"{module}.{alias.name}".strip(".")
                whole = inner in known
                yield (inner if whole else module), ("" if whole else alias.name), (alias.asname or alias.name)


@dataclass
class Walk:
    """All functions that a value is handed to, or that hand it on, from where it enters.

    The value is a parameter or local name, a part or view of one (`x[i]`, `x.astype(…)`), an `attribute` such as
    `problem.x`, or what a function returns that returns the value.  What is computed from it is another value.
    """

    attributes: tuple[str, ...]
    passed: dict[Function, set[str]] = field(default_factory=dict)  # function → the names of the value in it
    returning: set[Function] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.code = modules()
        self.functions: dict[Function, ast.FunctionDef] = {}
        self.methods: dict[str, list[Function]] = {}
        for module, tree in self.code.items():
            for node in tree.body:
                if isinstance(node, ast.FunctionDef) and node.name != "_":
                    self.functions[module, node.name] = node
                for inner in node.body if isinstance(node, ast.ClassDef) else ():
                    if isinstance(inner, ast.FunctionDef):
                        self.functions[module, f"{node.name}.{inner.name}"] = inner  # type: ignore[attr-defined]
                        self.methods.setdefault(inner.name, []).append((module, f"{node.name}.{inner.name}"))
        self.imported = {
            m: {here: (of, there) for of, there, here in imports(m, t, self.code)} for m, t in self.code.items()
        }

    def enter(self, function: Function, *names: str, returns: bool = False) -> Walk:
        """Follow these names of a function, and its result if it `returns` the value, until nothing new is found."""
        self.passed.setdefault(function, set()).update(names)
        self.returning.update({function} if returns else ())
        before = None
        while before != (before := (sum(map(len, self.passed.values())), len(self.returning))):
            for key in list(self.passed):
                self._read(key)
        return self

    def count(self) -> int:
        """How many functions the value passes through."""
        return sum(bool(names) or key in self.returning for key, names in self.passed.items())

    def _read(self, key: Function) -> None:
        node, names = self.functions[key], self.passed[key]
        for inner in ast.walk(node):
            if isinstance(inner, ast.Assign) and self._is_value(key, inner.value):
                for target in inner.targets:
                    parts = target.elts if isinstance(target, ast.Tuple) else [target]
                    found = {part.id for part in parts if isinstance(part, ast.Name)}
                    names.update(found & set(self.attributes) if len(parts) > 1 else found)
            if isinstance(inner, ast.Return) and inner.value is not None and self._is_value(key, inner.value):
                self.returning.add(key)
            if isinstance(inner, ast.Call):
                self._call(key, inner)

    def _call(self, key: Function, call: ast.Call) -> None:
        callee = self._callee(key, call.func)
        if callee is None:
            return
        node = self.functions[callee]
        parameters = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
        if "." in callee[1] and parameters[:1] in (["self"], ["cls"]):
            parameters = parameters[1:]
        given = [*zip(parameters, call.args, strict=False), *((k.arg or "", k.value) for k in call.keywords)]
        for parameter, value in given:
            if self._is_value(key, value):
                self.passed.setdefault(callee, set()).add(parameter)

    def _callee(self, key: Function, func: ast.expr) -> Function | None:
        module = key[0]
        if isinstance(func, ast.Name):
            of, there = self.imported[module].get(func.id, (module, func.id))
            return (of, there) if (of, there) in self.functions else None
        if isinstance(func, ast.Attribute):
            if isinstance(func.value, ast.Name) and func.value.id in self.imported[module]:
                of, _ = self.imported[module][func.value.id]
                return (of, func.attr) if (of, func.attr) in self.functions else None
            found = self.methods.get(func.attr, [])
            return found[0] if len(found) == 1 else None
        return None

    def _is_value(self, key: Function, node: ast.expr) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self.passed.get(key, ())
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            return node.slice.value in self.attributes or self._is_value(key, node.value)
        if isinstance(node, (ast.Subscript, ast.Starred)):
            return self._is_value(key, node.value)
        if isinstance(node, ast.Tuple):
            return any(self._is_value(key, e) for e in node.elts)
        if isinstance(node, ast.Attribute):
            return node.attr in self.attributes
        if isinstance(node, ast.Call):
            if self._callee(key, node.func) in self.returning:
                return True
            return isinstance(node.func, ast.Attribute) and self._is_value(key, node.func.value)
        return False
