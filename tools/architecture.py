"""Draw which packages of autoassign import which into ARCHITECTURE.md, as a Mermaid graph."""

import re
from pathlib import Path

import grimp

PAGE = Path(__file__).resolve().parents[1] / "ARCHITECTURE.md"
PACKAGE = "autoassign"


def package_imports() -> dict[str, set[str]]:
    """Each package with the packages that its modules import."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    packages = sorted(name for name in graph.find_children(PACKAGE) if graph.find_children(name))
    return {
        package.removeprefix(f"{PACKAGE}."): {
            other.removeprefix(f"{PACKAGE}.")
            for other in packages
            if other != package
            and graph.direct_import_exists(importer=package, imported=other, as_packages=True)
        }
        for package in packages
    }


def drop_shortcuts(imports: dict[str, set[str]]) -> None:
    """Remove the imports that a chain of others implies."""
    for package, others in imports.items():
        for other in sorted(others):
            others.remove(other)
            reached = [package]
            for place in reached:  # grows meanwhile
                reached += imports[place].difference(reached)
            if other not in reached:
                others.add(other)


def mermaid(imports: dict[str, set[str]]) -> str:
    """The source of the graph."""
    arrows = [
        f"    {package} --> {other}" for package in imports for other in sorted(imports[package])
    ]
    return "\n".join(["```mermaid", "graph TD", *arrows, "```"])


if __name__ == "__main__":
    imports = package_imports()
    drop_shortcuts(imports)
    drawn = mermaid(imports)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(
        re.sub(r"```mermaid.*?```", lambda _: drawn, page, flags=re.S), encoding="utf-8"
    )
    print(f"{PAGE}\n{drawn}")
