"""Trainings that are interrupted and resumed."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from narrow_model import narrow_cfg
from torch import Tensor, nn
from training_runs import metrics, run

from autoassign.checkpoint import CheckpointDescription
from autoassign.engine import Trainer
from autoassign.engine.resuming import check_resumable, seed_of

UNEVALUATED = ("DATASETS.CUSTOM.TEST", "", "DATASETS.CUSTOM.TEST_IMAGES", "")
FINAL = "model_final"
SGD = ("SOLVER.OPTIMIZER", "SGD", "SOLVER.BASE_LR", 0.01)


def checkpoint(output: Path, name: str = "model_final.pth") -> dict:
    return torch.load(output / name, weights_only=True)


def interrupt(output: Path, folder: Path, iteration: int) -> Path:
    """A copy of a training as it was when this iteration's checkpoint had been written."""
    copy = Path(shutil.copytree(output, folder))
    name = f"model_{iteration:07d}.pth"
    for path in copy.glob("model_*.pth"):
        if path.name != name:
            path.unlink()
    (copy / "last_checkpoint").write_text(name)
    return copy


def assert_equal(ours: object, theirs: object, name: str = "") -> None:
    assert type(ours) is type(theirs), name
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), name
        for key, value in ours.items():
            assert_equal(value, theirs[key], f"{name}.{key}")
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs), name
        for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            assert_equal(a, b, f"{name}.{index}")
    elif isinstance(ours, Tensor):
        assert torch.equal(ours, theirs), name
    elif name != ".autoassign.config":  # which names the folder
        assert ours == theirs, name


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("MODEL.EMA.ENABLED", False),
        SGD,
        (*SGD, "MODEL.EMA.ENABLED", False),
        ("DATALOADER.NUM_WORKERS", 2, "DATALOADER.ASPECT_RATIO_GROUPING", True),
    ],
    ids=["AdamW and EMA", "AdamW", "SGD and EMA", "SGD", "two loading processes"],
)
def test_a_resumed_training_ends_as_an_uninterrupted_one_bit_by_bit(shapes, tmp_path, options):
    options = (*options, *UNEVALUATED, "SOLVER.MAX_ITER", 5)
    run(shapes, tmp_path / "whole", *options)
    # The second epoch begins in iteration 4.
    resumed = interrupt(tmp_path / "whole", tmp_path / "resumed", 1)
    run(shapes, resumed, *options, flags=("--resume",))
    assert_equal(checkpoint(resumed), checkpoint(tmp_path / "whole"))


def test_the_number_of_loading_processes_makes_no_difference(shapes, tmp_path, monkeypatch):
    drawn: list[float] = []

    class Drawing(Trainer):
        @classmethod
        def build_model(cls, cfg):
            model = super().build_model(cfg)
            # As drop path does.
            model.register_forward_pre_hook(lambda *_: drawn.append(torch.rand(()).item()))
            return model

    monkeypatch.setattr("autoassign.engine.Trainer", Drawing)
    for number in (0, 2):
        options = (*UNEVALUATED, "SOLVER.MAX_ITER", 3, "DATALOADER.NUM_WORKERS", number)
        run(shapes, tmp_path / str(number), *options)
    ours, theirs = (checkpoint(tmp_path / name)["model"] for name in "02")
    assert_equal(ours, theirs)
    assert drawn[:3] == drawn[3:]
    assert len({*drawn}) == 3


def test_a_random_seed_is_that_of_the_checkpoint_when_resuming(shapes, tmp_path):
    options = (*UNEVALUATED, "SOLVER.MAX_ITER", 3, "SEED", -1)
    run(shapes, tmp_path / "whole", *options)
    resumed = interrupt(tmp_path / "whole", tmp_path / "resumed", 1)
    run(shapes, resumed, *options, flags=("--resume",))
    assert_equal(checkpoint(resumed), checkpoint(tmp_path / "whole"))


def test_an_evaluation_that_an_interruption_prevented_is_made_up_for(trained, shapes, tmp_path):
    resumed = interrupt(trained, tmp_path / "resumed", 1)
    (resumed / "metrics.json").unlink()
    run(shapes, resumed, flags=("--resume",))
    ours, theirs = (
        {row["iteration"]: row["bbox/AP50"] for row in metrics(folder) if "bbox/AP50" in row}
        for folder in (resumed, trained)
    )
    assert ours == theirs
    ours, theirs = (checkpoint(folder, "model_best.pth")["best"] for folder in (resumed, trained))
    assert ours == theirs


def test_a_finished_training_says_so_and_changes_no_checkpoint(trained, shapes, tmp_path):
    copy = Path(shutil.copytree(trained, tmp_path / "copy"))
    before = {path: path.read_bytes() for path in copy.glob("*.pth")}
    rows = metrics(copy)
    run(shapes, copy, flags=("--resume",))
    assert "is finished: 4 iterations are done" in (copy / "log.txt").read_text()
    assert {path: path.read_bytes() for path in copy.glob("*.pth")} == before
    assert metrics(copy) == rows


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SGD, "SOLVER.OPTIMIZER ADAMW, and now it is SGD"),
        (("MODEL.EMA.ENABLED", False), "MODEL.EMA.ENABLED True, and now it is False"),
        (
            ("MODEL.LABEL_ASSIGNMENT.NAME", "FCOS"),
            "MODEL.LABEL_ASSIGNMENT.NAME AutoAssign, and now it is FCOS",
        ),
        (("MODEL.RESNETS.STEM_OUT_CHANNELS", 4), "MODEL.RESNETS.STEM_OUT_CHANNELS 8 (now 4)"),
    ],
)
def test_resuming_with_another_model_or_optimizer_is_one_sentence(
    trained, shapes, tmp_path, options, message
):
    copy = Path(shutil.copytree(trained, tmp_path / "copy"))
    config = (copy / "config.yaml").read_bytes()
    with pytest.raises(ValueError, match="restore") as error:
        run(shapes, copy, *options, flags=("--resume",))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert (copy / "config.yaml").read_bytes() == config


@pytest.mark.parametrize("change", ["names", "order"])
def test_resuming_with_other_classes_is_one_sentence(trained, shapes, tmp_path, change):
    copy = Path(shutil.copytree(trained, tmp_path / "copy"))
    data = Path(shutil.copytree(shapes, tmp_path / "shapes"))
    for path in (data / "annotations").glob("*.json"):
        text = path.read_text()
        old, new = ("disc", "disk") if change == "names" else ("disc", "ring")
        text = text.replace(old, "#").replace(new, old).replace("#", new)
        path.write_text(text)
    with pytest.raises(ValueError, match=r"DATASETS\.TRAIN: class 0 was 'disc' and is") as error:
        run(data, copy, flags=("--resume",))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[", "its config is damaged"),
        ("[]", "its config is damaged"),
        ("", "its config is damaged"),
        ("a: 2020-99-99", "its config is damaged"),
        ("{SEED: 1, MODEL: {}}", "its config has no MODEL.EMA.ENABLED, MODEL.LABEL_ASSIGNMENT."),
        (None, "its 'autoassign' entry is malformed"),
    ],
)
def test_resuming_from_a_malformed_description_is_one_sentence(tmp_path, config, message):
    path = str(tmp_path / "model_0000001.pth")
    description = CheckpointDescription("0.1", config, ["a"], {0: 0}).to_checkpoint()
    torch.save({**description, "trainer": {"iteration": 1}}, path)
    cfg = narrow_cfg()
    for read in (lambda: seed_of(path), lambda: check_resumable(cfg, nn.Identity(), path)):
        with pytest.raises(ValueError, match=re.escape(message)) as error:
            read()
        assert str(error.value).startswith(f"{path} cannot be resumed from: ")
        assert "\n" not in str(error.value)


def test_the_newest_checkpoints_are_kept_and_the_final_one(shapes, tmp_path):
    def checkpoints_after(max_iter: int, num_kept: int) -> list[str]:
        options = ("SOLVER.MAX_ITER", max_iter, "SOLVER.CHECKPOINTS_KEPT", num_kept)
        every = ("SOLVER.CHECKPOINT_PERIOD", 1)
        run(shapes, tmp_path, *every, *options, *UNEVALUATED, flags=("--resume",))
        return sorted(path.stem for path in tmp_path.glob("*.pth"))

    assert checkpoints_after(3, 0) == ["model_0000000", "model_0000001", "model_0000002", FINAL]
    # Of a training that was resumed before it.
    (tmp_path / "model_0000009.pth").write_bytes(b"damaged")
    assert checkpoints_after(5, 2) == ["model_0000003", "model_0000004", FINAL]
