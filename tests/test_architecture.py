"""How the packages of autoassign import each other; `make lint` checks which of them may."""

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


def package(module: str) -> str:
    """The top-level package of a module; the packages of analysis are packages of their own."""
    parts = module.split(".")
    return ".".join(parts[: 3 if parts[1:2] == ["analysis"] else 2])


def exported(source: str) -> tuple[str, ...]:
    """The names that a package exports; none if it is a module inside one."""
    imported = importlib.import_module(source)
    return tuple(imported.__all__) if hasattr(imported, "__path__") else ()


def test_packages_import_only_what_others_export():
    wrong = [
        f"{module}: from {source} import {name}"
        for module, source, name in imports()
        if package(source) not in (package(module), "autoassign") and name not in exported(source)
    ]
    assert not wrong
