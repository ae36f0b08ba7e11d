"""Published weights and their model card."""

import hashlib
import json
import re
from pathlib import Path

import pytest
import torch
from detectors import CLASS_NAMES
from narrow_model import narrow_cfg, narrow_model

from autoassign import __version__
from autoassign.checkpoint import CheckpointDescription, read_weight_file
from autoassign.export import Publication, publish
from autoassign.runs import load_detector

IDS = {index * 10: index for index in range(5)}


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """The folder of a training, as it is left."""
    folder = tmp_path / "bees and cows"
    folder.mkdir()
    custom = "DATASETS.CUSTOM"
    cfg = narrow_cfg(
        *("OUTPUT_DIR", str(folder), "DATASETS.TEST", ("insects|farm_val",)),
        *("MODEL.WEIGHTS", str(folder / "imagenet.pth"), f"{custom}.ROOT", str(tmp_path)),
        *(f"{custom}.TRAIN", "train.json", f"{custom}.TEST", str(tmp_path / "val.json")),
    )
    (folder / "config.yaml").write_text(cfg.dump())
    names = [*CLASS_NAMES[:4], "elk|<b>"]
    description = CheckpointDescription(__version__, cfg.dump(), names, IDS)
    for name, seed, iteration in (
        ("model_best", 0, 499),
        ("model_0000749", 2, 749),
        ("model_final", 1, 999),
    ):
        checkpoint = {
            "model": narrow_model(seed=seed).state_dict(),
            "iteration": iteration,
            "trainer": {
                "iteration": iteration,
                "_trainer": {"optimizer": {"state": torch.zeros(1000)}},
            },
            **description.to_checkpoint(),
        }
        torch.save(checkpoint, folder / f"{name}.pth")
    rows = [
        {"iteration": 499, "bbox/AP": 41.25, "bbox/AP50": 60.0, "bbox/AP-elk|<b>": 7.5},
        {"iteration": 999, "bbox/AP": 40.0, "bbox/AP50": 61.0, "bbox/AP-elk|<b>": 6.5},
    ]
    (folder / "metrics.json").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (folder / "curves.png").write_bytes(b"a picture")
    return folder


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_are_enough_by_themselves(training, tmp_path, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    weights = publish(Publication.read(training, "bees"), tmp_path / "out", suffix=suffix)[0]
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert weights.name == f"bees-{sha256[:8]}{suffix}"
    checkpoint = read_weight_file(weights)
    assert set(checkpoint) == {"model", "autoassign", "metrics", "source"}
    assert checkpoint["metrics"]["AP"] == 41.25
    detector = load_detector(weights=str(weights))
    assert detector.class_names[:4] == CLASS_NAMES[:4]
    assert detector.metadata.thing_dataset_id_to_contiguous_id == IDS
    for name, tensor in narrow_model(seed=0).state_dict().items():
        assert torch.equal(detector.model.state_dict()[name], tensor)


def test_nothing_of_this_machine_is_published(training, tmp_path):
    weights, card, *_ = publish(Publication.read(training), tmp_path / "out")
    config = read_weight_file(weights)["autoassign"]["config"]
    assert str(tmp_path) not in config
    assert str(tmp_path) not in card.read_text()
    assert "TRAIN: train.json" in config
    assert re.search(r"^  DEVICE: cuda$", config, re.MULTILINE)


def test_a_readme_of_somebody_else_is_not_overwritten(training, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("My project\n")
    with pytest.raises(FileExistsError, match=r"README\.md is no model card"):
        publish(Publication.read(training), tmp_path)
    assert readme.read_text() == "My project\n"
    assert not list(tmp_path.glob("*.pth"))
    for _ in range(2):  # its own is
        publish(Publication.read(training), tmp_path / "out")


def test_a_picture_with_a_space_in_its_name_is_shown(training, tmp_path):
    (training / "my curves.png").write_bytes(b"another")
    card = publish(Publication.read(training), tmp_path / "out")[1].read_text()
    assert "![my curves](my%20curves.png)" in card


def test_what_is_not_known_has_no_row(training, tmp_path):
    card = publish(Publication.read(training), tmp_path / "out")[1].read_text()
    assert "trained on" not in card
    assert r"| tested on | insects\|farm\_val |" in card


def test_the_card_has_the_metrics_of_these_weights(training, tmp_path):
    card = publish(Publication.read(training), tmp_path / "out")[1].read_text()
    assert "after 500 iterations" in card
    assert "| 41.2 | 60.0 |" in card
    assert "curves.png" in card
    assert (tmp_path / "out" / "curves.png").read_bytes() == b"a picture"
    # Names do not break the table, nor become HTML.
    assert "| elk\\|&lt;b&gt; | 7.5 |" in card
    assert "ant, bee, cow, dog" in card
    final = Publication.read(training / "model_final.pth")
    assert final.iterations == 1000
    assert final.metrics["AP"] == 40.0


def test_weights_that_were_not_evaluated_have_no_metrics(training, tmp_path):
    between = Publication.read(training / "model_0000749.pth")
    assert between.metrics == {}
    # Others under the name of the best ones, as a second training in the folder leaves them.
    (training / "model_0000749.pth").replace(training / "model_best.pth")
    assert Publication.read(training).metrics == {}
    card = publish(Publication.read(training), tmp_path / "out")[1].read_text()
    assert "Average precision" not in card


def test_weights_alone_have_a_card_without_metrics(training, tmp_path):
    weights = publish(Publication.read(training), tmp_path / "first")[0]
    again = publish(Publication.read(weights, "again"), tmp_path / "second")
    assert [path.suffix for path in again] == [".pth", ".md"]
    assert "Average precision" not in again[1].read_text()


def test_the_source_of_converted_weights_is_told(training, tmp_path):
    checkpoint = read_weight_file(training / "model_best.pth") | {"source": "MMDetection: x_y.pth"}
    torch.save(checkpoint, tmp_path / "converted.pth")
    weights, card = publish(Publication.read(tmp_path / "converted.pth"), tmp_path / "out")
    assert read_weight_file(weights)["source"] == "MMDetection: x_y.pth"
    assert r"| converted from | MMDetection: x\_y.pth |" in card.read_text()


def test_a_folder_without_weights_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no weights to publish"):
        Publication.read(tmp_path)
