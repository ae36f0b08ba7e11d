"""AP on the easy, medium and hard faces of WIDER FACE, as its own evaluation code defines it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
from detectron2.data import MetadataCatalog
from detectron2.utils.logger import create_small_table

from .coco import FastCOCOEvaluator
from .voc import average_precision, first_matches

__all__ = ["WiderFaceEvaluator", "read_subsets", "subset_average_precision"]

_SUBSETS = ("easy", "medium", "hard")
_NUM_THRESHOLDS = 1000
_IOU_THRESHOLD = 0.5


class WiderFaceEvaluator(FastCOCOEvaluator):
    """COCO's metrics, and AP on the three subsets of WIDER FACE's validation images.

    Which face belongs to which subset is written in the files of WIDER FACE's eval_tools
    (``wider_face_val.mat``, ``wider_easy_val.mat``, ...), which the dataset's metadata looks for in
    ``subsets_dir``. Without that folder there are COCO's metrics only.
    """

    def __init__(self, dataset_name: str, output_dir: str | None = None, **kwargs: Any) -> None:
        """
        Raises:
            ValueError: a file of the subsets cannot be read, or scipy, which reads it, is missing.
        """
        super().__init__(dataset_name, output_dir, **kwargs)
        folder = _subsets_dir(dataset_name)
        if folder is None:
            self._logger.warning(
                f"{dataset_name}: no AP on easy, medium and hard faces, because the files of WIDER "
                f"FACE's eval_tools are not in {self._metadata.get('subsets_dir')}"
            )
        self._subsets = None if folder is None else read_subsets(folder)

    @classmethod
    def metric_names(cls, dataset_name: str) -> list[str]:
        has_subsets = _subsets_dir(dataset_name) is not None
        return super().metric_names(dataset_name) + [
            f"widerface/{subset}" for subset in _SUBSETS if has_subsets
        ]

    def _evaluate(self, results: list[dict[str, Any]], image_ids: list | None) -> None:
        super()._evaluate(results, image_ids)
        if self._subsets is None:
            return
        faces, subsets = self._subsets
        detections = defaultdict(list)
        for result in results:
            detections[result["image_id"]].append([*result["bbox"], result["score"]])
        arrays = {image_id: np.array(rows) for image_id, rows in detections.items()}
        metrics = {
            name: 100 * subset_average_precision(faces, subsets[name], arrays) for name in _SUBSETS
        }
        self._logger.info("Evaluation results for widerface: \n" + create_small_table(metrics))
        self._results["widerface"] = metrics


def subset_average_precision(
    faces: Mapping[str, np.ndarray],
    subset: Mapping[str, np.ndarray],
    detections: Mapping[str, np.ndarray],
) -> float:
    """AP on a subset of the faces, from 0 to 1.

    Each detection is compared with the face of its image that it overlaps most. At an IoU of 0.5
    or more it finds that face, if no other with a higher score has; where the face is not of the
    subset, the detection does not count. Scores are stretched to [0, 1] over all images; precision
    and recall are taken at 1000 thresholds. Boxes are one pixel wider and higher than written, as
    in the code of WIDER FACE.

    Args:
        faces: image -> (N, 4) boxes of all its faces, xywh in pixels.
        subset: image -> indices of the faces that belong to the subset.
        detections: image -> (M, 5) xywh and score. Images may be missing.
    """
    num_faces = sum(len(subset.get(image, ())) for image in faces)
    if num_faces == 0:
        return float("nan")
    evaluated = [image for image in faces if len(faces[image]) and len(detections.get(image, ()))]
    if not evaluated:
        return 0.0
    rows = [
        _match(faces[image], np.asarray(subset.get(image, ()), dtype=np.int64), detections[image])
        for image in evaluated
    ]
    scores, counts, finds = (np.concatenate(column) for column in zip(*rows, strict=True))
    every_score = np.concatenate([x[:, 4] for x in detections.values() if len(x)])
    low, high = every_score.min(), every_score.max()
    scores = (scores - low) / max(high - low, np.finfo(np.float64).tiny)

    order = np.argsort(-scores, kind="stable")
    thresholds = 1 - np.arange(1, _NUM_THRESHOLDS + 1) / _NUM_THRESHOLDS
    # How many detections have a score of at least the threshold.
    ends = np.searchsorted(-scores[order], -thresholds, side="right")
    num_counted, num_found = (np.append(0, np.cumsum(x[order]))[ends] for x in (counts, finds))
    return average_precision(
        num_found / num_faces, num_found / np.maximum(num_counted, 1), eleven_points=False
    )


def _match(
    faces: np.ndarray, subset: np.ndarray, detections: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score of each detection of an image, whether it counts, and whether it finds a face."""
    detections = detections[np.argsort(-detections[:, 4], kind="stable")]
    one_pixel = np.array([0, 0, 1, 1])
    # pycocotools takes the memory of an array for its rows.
    ious = mask_util.iou(
        np.ascontiguousarray(detections[:, :4] + one_pixel),
        np.ascontiguousarray(faces + one_pixel),
        [False] * len(faces),
    )
    best = ious.argmax(axis=1)
    matched = ious.max(axis=1) >= _IOU_THRESHOLD
    in_subset = np.isin(best, subset)
    finds = first_matches(matched & in_subset, best)
    return detections[:, 4], ~matched | in_subset, finds


def _subsets_dir(dataset_name: str) -> Path | None:
    folder = MetadataCatalog.get(dataset_name).get("subsets_dir")
    return Path(folder) if folder and Path(folder).is_dir() else None


def read_subsets(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, dict[str, np.ndarray]]]:
    """Read the ground truth of WIDER FACE's eval_tools.

    Returns:
        "event/image" -> (N, 4) boxes of all faces, xywh; and, for each subset, "event/image" ->
        indices of its faces.

    Raises:
        ValueError: a file cannot be read, or scipy, which reads it, is missing.
    """
    try:
        from scipy.io.matlab import MatReadError, loadmat
    except ImportError as error:
        raise ValueError(
            f"the subsets of WIDER FACE in {folder} are MATLAB files: `pip install scipy` to read "
            "them, or move the folder away for COCO's metrics alone"
        ) from error

    def load(name: str) -> dict[str, Any]:
        path = folder / f"wider_{name}_val.mat"
        try:
            return loadmat(path)
        except (OSError, ValueError, TypeError, NotImplementedError, MatReadError) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error

    content = load("face")
    events = [str(event[0][0]) for event in content["event_list"]]
    keys = [
        [f"{event}/{name[0][0]}" for name in names[0]]
        for event, names in zip(events, content["file_list"], strict=True)
    ]

    def cells(values: np.ndarray) -> dict[str, np.ndarray]:
        return {
            key: np.asarray(cell[0])
            for event_keys, event_cells in zip(keys, values, strict=True)
            for key, cell in zip(event_keys, event_cells[0], strict=True)
        }

    faces = {
        key: boxes.astype(np.float64) for key, boxes in cells(content["face_bbx_list"]).items()
    }
    subsets = {
        name: {key: rows.reshape(-1) - 1 for key, rows in cells(load(name)["gt_list"]).items()}
        for name in _SUBSETS
    }
    return faces, subsets
