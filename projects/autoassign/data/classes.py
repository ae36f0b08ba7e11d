"""The number of classes, taken from the data or checked against it."""

import difflib

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from ..config import first_of

__all__ = ["resolve_num_classes"]

# Names shown in a message about many.
_MAX_NAMES = 5


def resolve_num_classes(cfg: CfgNode) -> None:
    """Set the detector's ``NUM_CLASSES`` from the data where it is 0, else check it.

    It is that of ``cfg.MODEL.POINT_HEAD``, or of ``cfg.MODEL.RETINANET`` for detectron2's
    RetinaNet. The classes are the metadata's ``thing_classes`` of all datasets in
    ``cfg.DATASETS.TRAIN`` and ``cfg.DATASETS.TEST``. A dataset is loaded only where its metadata
    does not say.

    Args:
        cfg: a config that is not frozen, after
            :func:`~autoassign.data.register.register_custom_datasets`.

    Raises:
        ValueError: a dataset is not registered, has no classes or other ones than the first;
            the number set is another; or it is 0 and no dataset is named.
    """
    node = "RETINANET" if cfg.MODEL.META_ARCHITECTURE == "RetinaNet" else "POINT_HEAD"
    head = cfg.MODEL[node]
    names = list(dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)))
    if not names:
        if head.NUM_CLASSES == 0:
            raise ValueError(
                f"MODEL.{node}.NUM_CLASSES is 0, and DATASETS.TRAIN and DATASETS.TEST name no "
                "dataset to take it from"
            )
        return
    classes = _thing_classes(names[0])
    for name in names[1:]:
        _check_same_classes(names[0], classes, name, _thing_classes(name))
    if head.NUM_CLASSES == 0:
        head.NUM_CLASSES = len(classes)
    elif len(classes) != head.NUM_CLASSES:
        raise ValueError(
            f"MODEL.{node}.NUM_CLASSES is {head.NUM_CLASSES}, but {', '.join(names)} have "
            f"{len(classes)} classes: {first_of(classes, _MAX_NAMES)}. Set it to {len(classes)}, "
            "or to 0 to take it from the data."
        )


def _thing_classes(name: str) -> list[str]:
    if name not in DatasetCatalog:
        known = DatasetCatalog.list()
        similar = difflib.get_close_matches(name, known, n=_MAX_NAMES) or known
        raise ValueError(
            f"DATASETS.TRAIN or DATASETS.TEST names {name!r}, which is not registered. Registered "
            f"are, among others: {first_of(similar, _MAX_NAMES)}. To train on a folder of your "
            "own, set DATASETS.CUSTOM.FORMAT, ROOT, TRAIN and TEST instead."
        )
    if not MetadataCatalog.get(name).get("thing_classes"):
        DatasetCatalog.get(name)  # loaders such as detectron2's for COCO set the classes
    classes = MetadataCatalog.get(name).get("thing_classes")
    if not classes:
        raise ValueError(f"the dataset {name} has no classes (metadata 'thing_classes')")
    return list(classes)


def _check_same_classes(first: str, classes: list[str], name: str, others: list[str]) -> None:
    if others == classes:
        return
    differences = [
        f"only in {dataset}: {first_of(only, _MAX_NAMES)}"
        for dataset, only in (
            (first, [c for c in classes if c not in others]),
            (name, [c for c in others if c not in classes]),
        )
        if only
    ] or [f"the order differs: {first_of(classes, _MAX_NAMES)} and {first_of(others, _MAX_NAMES)}"]
    raise ValueError(
        f"the datasets {first} ({len(classes)} classes) and {name} ({len(others)} classes) do "
        f"not have the same classes; {'; '.join(differences)}"
    )
