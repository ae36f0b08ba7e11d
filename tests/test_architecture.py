"""How the rooms of the package import each other; `make lint` checks which of them may."""

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import autoassign

PACKAGE = Path(autoassign.__file__).parent


def imports() -> Iterator[tuple[str, str, str]]:
    """Each (importing module, module it imports from, imported name) inside the package."""
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(("autoassign", *path.relative_to(PACKAGE).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                relative = "." * node.level + (node.module or "")
                source = importlib.util.resolve_name(relative, module.rpartition(".")[0])
                yield from ((module, source, name.name) for name in node.names)


def room(module: str) -> str:
    """The top-level package of a module; the packages of analysis are rooms of their own."""
    parts = module.split(".")
    return ".".join(parts[: 3 if parts[1:2] == ["analysis"] else 2])


def exported(source: str) -> tuple[str, ...]:
    """The names that a package exports; none if it is a module inside one."""
    package = importlib.import_module(source)
    return tuple(package.__all__) if hasattr(package, "__path__") else ()


def test_rooms_import_only_what_other_rooms_export():
    wrong = [
        f"{module}: from {source} import {name}"
        for module, source, name in imports()
        if room(source) not in (room(module), "autoassign") and name not in exported(source)
    ]
    assert not wrong
