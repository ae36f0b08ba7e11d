"""How the rooms of the package import each other; `make lint` checks which of them may."""

import grimp

# Modules that other rooms import until their room's __init__ exports what is used.
PENDING = [
    "analysis.comparison.conditions",
    "analysis.comparison.results",
    "analysis.figures.assignment_figure",
    "analysis.figures.evolution_figure",
    "analysis.figures.heat",
    "analysis.figures.objectness_figure",
    "analysis.figures.prior_figure",
    "config.checks",
    "config.defaults",
    "config.files",
    "data.image_files",
    "data.model_inputs",
    "data.records",
    "data.register",
    "data.shapes",
    "engine.evolution_hook",
    "engine.hooks",
    "engine.launch",
    "engine.optimizer",
    "engine.setup",
    "inference.runner",
    "inference.sources",
    "modeling.detector",
    "modeling.explanation",
    "modeling.grid",
    "modeling.head",
    "runs.class_names",
    "runs.evolution",
    "runs.metrics",
    "runs.subject",
]


def room(module: str) -> str:
    """The top-level package of a module; the packages of analysis are rooms of their own."""
    parts = module.split(".")
    return ".".join(parts[: 3 if parts[1:2] == ["analysis"] else 2])


def test_rooms_import_packages_and_not_the_modules_inside_them():
    graph = grimp.build_graph("autoassign", cache_dir=None)
    found = {
        f"{importer} -> {imported}"
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
        if room(imported) != room(importer)
        and not graph.find_children(imported)
        and imported.removeprefix("autoassign.") not in PENDING
    }
    assert not found
