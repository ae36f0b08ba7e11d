"""The names of a detector's classes, found without its training data where possible."""

import logging
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog

from ..checkpoint import CheckpointDescription
from ..data import FORMATS

__all__ = ["class_metadata"]

logger = logging.getLogger(__name__)


def class_metadata(
    cfg: CfgNode,
    num_classes: int,
    class_names: Sequence[str] | None = None,
    *,
    description: CheckpointDescription | None = None,
) -> Metadata:
    """Names and dataset ids of a detector's classes.

    They come from ``class_names``; else from inside the checkpoint; else from the annotations of
    ``cfg.DATASETS.CUSTOM``, if they still exist (images are not looked at); else from the
    registered datasets that ``cfg.DATASETS.TEST`` and ``TRAIN`` name. A source with another number
    of classes is passed over. Without any, a warning says so, and the classes are called
    "class 0", "class 1", ...

    Args:
        cfg: the detector's config.
        num_classes: of the detector.
        class_names: the names in the detector's order.
        description: of the checkpoint that the detector's weights come from.

    Returns:
        Metadata with ``thing_classes`` and ``thing_dataset_id_to_contiguous_id``; the ids are
        0, 1, 2 ... where the dataset has none.

    Raises:
        ValueError: ``class_names`` has another number of names, or one of them twice.
    """
    if class_names is not None:
        names = list(class_names)
        if len(names) != num_classes or len(set(names)) != num_classes:
            raise ValueError(
                f"the detector has {num_classes} classes, but {len(names)} class names are given, "
                f"{len(set(names))} of them different: {', '.join(names)}"
            )
        return _metadata(names, None)
    if description is not None and len(description.thing_classes) == num_classes:
        return _metadata(description.thing_classes, description.thing_dataset_id_to_contiguous_id)
    # Custom datasets first: training replaces those that the config names by them.
    for candidate in (_custom, _registered):
        found = candidate(cfg)
        if found is not None and len(found[0]) == num_classes:
            return _metadata(*found)
    logger.warning(
        f"The names and dataset ids of the {num_classes} classes are not known: they are called "
        f'"class 0" to "class {num_classes - 1}", and their category ids in results are 0 to '
        f"{num_classes - 1}, whatever the ids in the annotations were."
    )
    return _metadata([f"class {index}" for index in range(num_classes)], None)


# Names in the detector's order, and the index of each dataset id.
_Classes = tuple[list[str], dict[int, int] | None]


def _metadata(names: list[str], index_of_id: dict[int, int] | None) -> Metadata:
    if index_of_id is None:
        index_of_id = {index: index for index in range(len(names))}
    return Metadata(thing_classes=names, thing_dataset_id_to_contiguous_id=index_of_id)


def _registered(cfg: CfgNode) -> _Classes | None:
    for name in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN):
        # Asking MetadataCatalog for a name that it does not know would add it.
        if name in DatasetCatalog:
            metadata = MetadataCatalog.get(name)
            # detectron2 knows the names of its own datasets without their files.
            if metadata.get("thing_classes"):
                ids = metadata.get("thing_dataset_id_to_contiguous_id")
                return list(metadata.thing_classes), ids
    return None


def _custom(cfg: CfgNode) -> _Classes | None:
    custom = cfg.DATASETS.CUSTOM
    if custom.FORMAT not in FORMATS:
        return None
    try:
        train, test = FORMATS[custom.FORMAT](custom)
    except (OSError, ValueError) as error:
        logger.warning(f"The class names are not read from DATASETS.CUSTOM: {error}")
        return None
    metadata = (*test, *train)[0].metadata
    return metadata["thing_classes"], metadata["thing_dataset_id_to_contiguous_id"]
