"""Weight maps of a few objects over the iterations of a training, kept as .npz files.

A folder holds objects.npz with the images and boxes, and iter_0000100.npz with the primary maps
as they were after 100 iterations.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import replacing
from ..modeling import ImageExplanation, ObjectMaps, Peak

__all__ = ["Evolution", "evolution_folder", "load_evolutions", "save_iteration", "start_evolution"]

_OBJECTS = "objects.npz"
_READ_ERRORS = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Evolution:
    """How the assignment of one object changed.

    Attributes:
        name: of the object, for headings.
        iterations: ascending; the number of iterations done.
        explanations: the object's image at each of them, with the primary map of this object.
    """

    name: str
    iterations: list[int]
    explanations: list[ImageExplanation]

    @property
    def level_shares(self) -> np.ndarray:
        """(iterations, L) share of each level in the primary map."""
        return np.stack([x.objects[0].level_shares for x in self.explanations])


def evolution_folder(output_dir: str | Path) -> Path:
    """Where a training with ``TEST.EVOLUTION`` keeps its maps, in its ``OUTPUT_DIR``."""
    return Path(output_dir) / "evolution"


def start_evolution(
    folder: Path, explanations: Sequence[ImageExplanation], names: Sequence[str], iteration: int
) -> None:
    """Write what stays the same, and the maps as a training begins or resumes.

    Maps of later iterations are removed: they are those of an earlier training, or of the part
    that a resumed one does again.

    Args:
        folder: where they are kept.
        explanations: of the images, each with one object.
        names: of the objects, for headings.
        iteration: the number of iterations done; 0 for a training from the start.

    Raises:
        ValueError: maps of other objects have been kept before this iteration, or the file of the
            objects cannot be read.
    """
    arrays = _constant_arrays(explanations, names)
    kept = folder / _OBJECTS
    if iteration > 0 and kept.is_file():
        _check_same_objects(kept, arrays)
    for path in folder.glob("iter_*.npz"):
        if _iteration(path) > iteration:
            path.unlink()
    _write(kept, arrays)
    save_iteration(folder, iteration, explanations)


def _constant_arrays(
    explanations: Sequence[ImageExplanation], names: Sequence[str]
) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {"names": np.array(names)}
    for number, explanation in enumerate(explanations):
        shown = explanation.objects[0]
        arrays |= {
            f"{number}/image": explanation.image,
            f"{number}/strides": np.array(explanation.strides),
            f"{number}/offset": np.array(explanation.offset),
            f"{number}/level_sizes": np.array(explanation.level_sizes),
            f"{number}/box": shown.box,
            f"{number}/index_and_class": np.array([shown.index, shown.class_index]),
            f"{number}/primary": np.array(shown.primary),
        }
    return arrays


def _check_same_objects(path: Path, arrays: dict[str, np.ndarray]) -> None:
    # Another machine may resize an image a little differently.
    kept, wanted = (
        {key: value for key, value in x.items() if not key.endswith("/image")}
        for x in (_read(path), arrays)
    )
    if kept.keys() != wanted.keys() or not all(
        np.array_equal(kept[key], value) for key, value in wanted.items()
    ):
        raise ValueError(
            f"{path} holds the objects {_listed(kept)}, which are not those to be kept now, "
            f"{_listed(wanted)}, or their images have another size: restore TEST.EVOLUTION, "
            f"DATASETS.TEST and INPUT as they were, or move {path.parent} away"
        )


def _listed(arrays: dict[str, np.ndarray]) -> str:
    names = [str(name) for name in arrays.get("names", ())]
    return "; ".join(names[:3]) + ("; ..." if len(names) > 3 else "")


def save_iteration(folder: Path, iteration: int, explanations: Sequence[ImageExplanation]) -> None:
    """Write the primary maps of the same objects after so many iterations."""
    arrays: dict[str, np.ndarray] = {}
    for number, explanation in enumerate(explanations):
        shown = explanation.objects[0]
        levels = shown.maps[shown.primary]
        arrays[f"{number}/map"] = np.concatenate([level.ravel() for level in levels])
        arrays[f"{number}/peak"] = np.array(() if shown.peak is None else shown.peak)
    _write(folder / f"iter_{iteration:07d}.npz", arrays)


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with replacing(path) as unfinished:
        np.savez_compressed(unfinished, allow_pickle=False, **arrays)


def load_evolutions(folder: str | Path) -> list[Evolution]:
    """Read what a training has kept.

    Raises:
        FileNotFoundError: there is nothing in the folder.
        ValueError: a file is broken or belongs to other objects; it is named.
    """
    folder = Path(folder)
    paths = sorted(folder.glob("iter_*.npz"))
    if not (folder / _OBJECTS).is_file() or not paths:
        raise FileNotFoundError(
            f"{folder} holds no evolution: train with TEST.EVOLUTION.ENABLED True"
        )
    objects = _read(folder / _OBJECTS)
    evolutions = [Evolution(str(name), [], []) for name in objects["names"]]
    for path in paths:
        arrays = _read(path)
        for number, evolution in enumerate(evolutions):
            try:
                explanation = _restored(objects, arrays, number)
            except (KeyError, ValueError, TypeError) as error:
                raise ValueError(f"{path} does not belong to {folder / _OBJECTS}") from error
            evolution.iterations.append(_iteration(path))
            evolution.explanations.append(explanation)
    return evolutions


def _iteration(path: Path) -> int:
    return int(path.stem.removeprefix("iter_"))


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as file:
            return dict(file)
    except _READ_ERRORS as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _restored(
    objects: dict[str, np.ndarray], arrays: dict[str, np.ndarray], number: int
) -> ImageExplanation:
    sizes = tuple((int(h), int(w)) for h, w in objects[f"{number}/level_sizes"])
    ends = np.cumsum([h * w for h, w in sizes])
    levels = np.split(arrays[f"{number}/map"], ends[:-1])
    index, class_index = objects[f"{number}/index_and_class"].tolist()
    primary = str(objects[f"{number}/primary"])
    peak = arrays[f"{number}/peak"].tolist()
    shown = ObjectMaps(
        index=index,
        box=objects[f"{number}/box"],
        class_index=class_index,
        maps={primary: [x.reshape(size) for x, size in zip(levels, sizes, strict=True)]},
        primary=primary,
        peak=Peak(int(peak[0]), *peak[1:]) if peak else None,
    )
    return ImageExplanation(
        image=objects[f"{number}/image"],
        strides=tuple(objects[f"{number}/strides"].tolist()),
        offset=float(objects[f"{number}/offset"]),
        level_sizes=sizes,
        objects=[shown],
    )
