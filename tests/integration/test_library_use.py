"""The package as a library: a dataset, a Trainer and a Predictor of one's own, as in the README."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from narrow_model import NARROW
from torch import nn
from torch.optim import Optimizer

from autoassign import load_config
from autoassign.engine import Trainer
from autoassign.inference import Predictor
from autoassign.runs import load_detector

CLASSES = ["dark", "bright"]


def squares(folder: Path, num_images: int = 4) -> list[dict]:
    """Images with a dark and a bright square each, as detectron2 dataset dicts."""
    records = []
    for index in range(num_images):
        image = np.full((96, 128, 3), 128, np.uint8)
        annotations = []
        for category_id, (x, color) in enumerate([(8 + index, 0), (72 - index, 255)]):
            image[24:72, x : x + 48] = color
            annotations.append(
                {
                    "bbox": [x, 24, x + 48, 72],
                    "bbox_mode": BoxMode.XYXY_ABS,
                    "category_id": category_id,
                }
            )
        path = folder / f"{index}.png"
        cv2.imwrite(str(path), image)
        record = {"file_name": str(path), "image_id": index, "height": 96, "width": 128}
        records.append({**record, "annotations": annotations})
    return records


class FrozenBackboneTrainer(Trainer):
    """Trains the head alone."""

    @classmethod
    def build_optimizer(cls, cfg, model: nn.Module) -> Optimizer:
        model.backbone.requires_grad_(False)
        return super().build_optimizer(cfg, model)


@pytest.fixture
def dataset(tmp_path):
    name = "my_squares"
    DatasetCatalog.register(name, lambda: squares(tmp_path))
    MetadataCatalog.get(name).set(thing_classes=CLASSES)
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def test_train_and_predict_on_a_dataset_of_ones_own(dataset, tmp_path):
    options = [
        *("DATASETS.TRAIN", (dataset,), "DATASETS.TEST", (), "DATALOADER.NUM_WORKERS", 0),
        *("MODEL.POINT_HEAD.NUM_CLASSES", len(CLASSES), "OUTPUT_DIR", str(tmp_path / "out")),
        *("SOLVER.MAX_ITER", 3, "SOLVER.IMS_PER_BATCH", 2, "INPUT.MIN_SIZE_TRAIN", (96,)),
    ]
    cfg = load_config("Base-Small.yaml", [*NARROW, *options])
    Path(cfg.OUTPUT_DIR).mkdir()
    trainer = FrozenBackboneTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()

    weights = Path(cfg.OUTPUT_DIR) / "model_final.pth"
    alone = weights.rename(tmp_path / "alone.pth")
    detector = load_detector(weights=str(alone), opts=["MODEL.POINT_HEAD.SCORE_THRESH_TEST=0"])
    assert detector.class_names == CLASSES
    [instances] = Predictor(detector)([cv2.imread(str(tmp_path / "0.png"))])
    assert len(instances) > 0
    assert instances.image_size == (96, 128)
    assert set(instances.pred_classes.tolist()) <= {0, 1}
