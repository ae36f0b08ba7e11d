import json
import math
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from training_runs import metrics, parse, process_state_kept, run

from autoassign.engine import Trainer, setup_config
from autoassign.engine.hooks import AveragedWeights

LOSSES = {"total_loss", "loss_pos", "loss_neg", "loss_center"}
STATISTICS = {
    f"assignment/{name}"
    for name in (
        "num_objects",
        "num_pairs",
        "num_objects_without_inside_location",
        "mean_greatest_positive_weight",
        "mu_min",
        "mu_max",
        "sigma_min",
        "sigma_max",
    )
}
UNEVALUATED = ("DATASETS.CUSTOM.TEST", "", "DATASETS.CUSTOM.TEST_IMAGES", "")


@pytest.fixture
def interrupted(trained: Path, tmp_path: Path) -> Path:
    """A copy of the training, as it was when two of its four iterations were done."""
    output = tmp_path / "interrupted"
    shutil.copytree(trained, output)
    (output / "last_checkpoint").write_text("model_0000001.pth")
    for name in ("model_0000003.pth", "model_final.pth"):
        (output / name).unlink()
    return output


@pytest.fixture
def finished(trained: Path, tmp_path: Path) -> Path:
    """A copy of the training."""
    return Path(shutil.copytree(trained, tmp_path / "finished"))


def checkpoint(output: Path, name: str = "model_final.pth") -> dict:
    return torch.load(output / name, weights_only=False)


def weights_in_training(output: Path, name: str = "model_final.pth") -> dict:
    return checkpoint(output, name)["trainer"]["hooks"]["AveragedWeights"]["model"]


def detections(output: Path) -> list[dict]:
    return json.loads((output / "inference/coco_instances_results.json").read_text())


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def sparse_annotations(shapes: Path, folder: Path, num_annotated: int) -> Path:
    """The training annotations without the objects of all but the first few images."""
    content = json.loads((shapes / "annotations/train.json").read_text())
    kept = {image["id"] for image in content["images"][:num_annotated]}
    content["annotations"] = [x for x in content["annotations"] if x["image_id"] in kept]
    path = folder / "sparse.json"
    path.write_text(json.dumps(content))
    return path


# What a training leaves


def test_a_training_leaves_checkpoints_config_log_metrics_and_tensorboard(trained):
    names = {path.name for path in trained.iterdir()}
    assert {
        "model_0000001.pth",
        "model_0000003.pth",
        "model_final.pth",
        "model_best.pth",
        "config.yaml",
        "log.txt",
        "metrics.json",
        "last_checkpoint",
    } <= names
    assert [name for name in names if name.startswith("events.out.tfevents")]
    assert (trained / "last_checkpoint").read_text() == "model_final.pth"


def test_metrics_hold_every_loss_and_statistic_and_the_ap(trained):
    rows = metrics(trained)
    row = next(row for row in rows if row["iteration"] == 3)
    assert LOSSES | STATISTICS | {"lr", "eta_seconds", "time"} <= set(row)
    assert all(math.isfinite(row[name]) for name in LOSSES | STATISTICS)
    assert row["total_loss"] == pytest.approx(
        row["loss_pos"] + row["loss_neg"] + row["loss_center"], rel=0.1
    )
    evaluated = [row["iteration"] for row in rows if "bbox/AP" in row]
    assert evaluated == [1, 4]
    assert {"bbox/AP50", "bbox/AP75", "bbox/APs", "bbox/APm"} <= set(rows[-1])


def test_the_log_shows_losses_and_eta(trained):
    log = (trained / "log.txt").read_text()
    assert "eta: 0:00:00  iter: 3  total_loss:" in log
    assert "loss_pos:" in log


def test_the_config_left_is_that_of_the_run(trained):
    config = yaml.unsafe_load((trained / "config.yaml").read_text())
    assert config["SOLVER"]["MAX_ITER"] == 4
    assert tuple(config["DATASETS"]["TRAIN"]) == ("shapes_train",)


def test_the_best_checkpoint_is_that_of_the_evaluation_with_the_greatest_ap(trained):
    rows = {row["iteration"]: row["bbox/AP"] for row in metrics(trained) if "bbox/AP" in row}
    best = max(rows, key=rows.get)
    assert checkpoint(trained, "model_best.pth")["iteration"] == best
    same = {1: "model_0000001.pth", 4: "model_final.pth"}[best]
    ours, theirs = (checkpoint(trained, name)["model"] for name in ("model_best.pth", same))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_checkpoint_holds_averaged_weights_as_its_model(trained):
    first, last = (checkpoint(trained, f"model_{i:07d}.pth") for i in (1, 3))
    raw = weights_in_training(trained, "model_0000003.pth")
    name = "head.cls_score.weight"
    assert not torch.equal(last["model"][name], raw[name])
    # At a decay of 0.99 the average has hardly moved since, the weights in training have.
    moved = (last["model"][name] - first["model"][name]).norm()
    raw_moved = (raw[name] - weights_in_training(trained, "model_0000001.pth")[name]).norm()
    assert 0 < moved < 0.1 * raw_moved


# Evaluation


def test_evaluating_the_final_model_repeats_the_last_evaluation(trained, shapes, tmp_path):
    weights = trained / "model_final.pth"
    results = run(shapes, tmp_path, "MODEL.WEIGHTS", weights, flags=("--eval-only",))
    last = metrics(trained)[-1]
    expected = {name: value for name, value in last.items() if name.startswith("bbox/AP")}
    assert len(expected) >= 6
    assert {f"bbox/{name}": value for name, value in results["bbox"].items()} == pytest.approx(
        expected, nan_ok=True
    )
    assert detections(tmp_path / "evaluation") == detections(trained)


def test_evaluating_at_the_size_of_tests_alone_changes_nothing(trained, shapes, tmp_path):
    aug = ("TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", (96,), "TEST.AUG.FLIP", False)
    options = ("MODEL.WEIGHTS", trained / "model_final.pth", "TEST.AUG.MAX_SIZE", 160)
    results = run(shapes, tmp_path, *options, *aug, flags=("--eval-only",))
    ap = metrics(trained)[-1]["bbox/AP"]
    assert results["bbox"]["AP"] == pytest.approx(ap, abs=1e-3, nan_ok=True)
    assert len(detections(tmp_path / "evaluation")) == len(detections(trained))


def test_evaluating_with_resume_takes_the_last_checkpoint_and_changes_no_file(finished, shapes):
    before = files(finished)
    results = run(shapes, finished, flags=("--eval-only", "--resume"))
    assert results["bbox"]["AP"] == pytest.approx(metrics(finished)[-1]["bbox/AP"], nan_ok=True)
    assert detections(finished / "evaluation") == detections(finished)
    shutil.rmtree(finished / "evaluation")
    assert files(finished) == before


def test_a_result_below_the_one_expected_by_the_config_is_an_error(trained, shapes, tmp_path):
    options = ("MODEL.WEIGHTS", trained / "model_final.pth")
    expected = ("TEST.EXPECTED_RESULTS", [["bbox", "AP", 99.0, 0.5]])
    with pytest.raises(SystemExit):
        run(shapes, tmp_path, *options, *expected, flags=("--eval-only",))


# Resuming


def test_resuming_goes_on_with_iteration_schedule_optimizer_and_average(interrupted, shapes):
    run(shapes, interrupted, flags=("--resume",))
    assert "Starting training from iteration 2" in (interrupted / "log.txt").read_text()
    final = checkpoint(interrupted)
    assert final["iteration"] == final["trainer"]["iteration"] == 3
    state = final["trainer"]
    assert state["hooks"]["AveragedWeights"]["n_averaged"] == 4
    assert state["hooks"]["LRScheduler"]["last_epoch"] == 4
    steps = {int(x["step"]) for x in state["_trainer"]["optimizer"]["state"].values()}
    assert steps == {4}


def test_a_finished_training_can_be_prolonged_without_a_gap(shapes, tmp_path):
    # The best model is written last, after the only evaluation.
    run(shapes, tmp_path, "TEST.EVAL_PERIOD", 0, "SOLVER.MAX_ITER", 2)
    assert (tmp_path / "model_best.pth").exists()
    run(shapes, tmp_path, "SOLVER.MAX_ITER", 3, flags=("--resume",))
    state = checkpoint(tmp_path)["trainer"]
    steps = {int(x["step"]) for x in state["_trainer"]["optimizer"]["state"].values()}
    assert state["iteration"] == 2
    assert steps == {3}


def test_resuming_where_nothing_was_written_yet_starts_at_the_beginning(shapes, tmp_path):
    run(shapes, tmp_path, "SOLVER.MAX_ITER", 1, flags=("--resume",))
    assert checkpoint(tmp_path)["iteration"] == 0


def test_training_starts_from_the_weights_named_and_at_iteration_0(trained, shapes, tmp_path):
    run(
        shapes,
        tmp_path,
        *("MODEL.WEIGHTS", trained / "model_final.pth"),
        *("SOLVER.MAX_ITER", 1, "SOLVER.BASE_LR", 1e-12),
    )
    ours, theirs = checkpoint(tmp_path), checkpoint(trained)
    assert ours["iteration"] == 0
    for name in ("head.cls_score.weight", "label_assignment.sigma"):
        assert torch.allclose(ours["model"][name], theirs["model"][name], atol=1e-6)


# What goes wrong


def test_non_finite_losses_stop_with_the_particulars_and_keep_the_last_checkpoint(finished, shapes):
    before = (finished / "model_final.pth").read_bytes()
    options = ("MODEL.LABEL_ASSIGNMENT.AUTOASSIGN.POS_LOSS_WEIGHT", 1e39)
    with pytest.raises(FloatingPointError) as error:
        run(shapes, finished, *options, "SOLVER.MAX_ITER", 9, flags=("--resume",))
    message = str(error.value)
    assert "Non-finite loss at iteration 6: loss_pos inf, loss_neg 0." in message
    assert "3 steps in a row" in message
    assert message.count(f"{shapes}/train/0000") == 2
    assert message.endswith(f"The last checkpoint is {finished / 'model_final.pth'}.")
    assert (finished / "model_final.pth").read_bytes() == before
    assert not (finished / "model_0000005.pth").exists()
    log = (finished / "log.txt").read_text()
    assert "Non-finite loss at iteration 4" in log
    assert "The update is skipped" in log


def test_non_finite_losses_before_the_first_checkpoint_say_that_there_is_none(shapes, tmp_path):
    options = ("MODEL.LABEL_ASSIGNMENT.AUTOASSIGN.NEG_LOSS_WEIGHT", 1e42)
    with pytest.raises(FloatingPointError, match=r"iteration 2: .*loss_neg inf.*No checkpoint"):
        run(shapes, tmp_path, *options)
    assert not (tmp_path / "last_checkpoint").exists()


def test_a_trainer_used_as_a_library_does_not_overwrite_a_training_either(shapes, tmp_path):
    with process_state_kept():
        cfg = setup_config(parse(shapes, tmp_path, *UNEVALUATED, "SOLVER.MAX_ITER", 1))
        trainers = [Trainer(cfg), Trainer(cfg)]
        trainers[0].resume_or_load(resume=False)
        trainers[0].train()
        rows = metrics(tmp_path)
        with pytest.raises(FileExistsError, match="holds a training already"):
            trainers[1].resume_or_load(resume=False)
    assert metrics(tmp_path) == rows


def test_weights_that_do_not_fit_are_an_error_that_names_the_tensors(trained, shapes, tmp_path):
    options = ("MODEL.WEIGHTS", trained / "model_final.pth", "MODEL.FPN.OUT_CHANNELS", 64)
    with pytest.raises(ValueError, match=r"backbone\.fpn_lateral3\.weight \(32, "):
        run(shapes, tmp_path, *options)
    run(shapes, tmp_path, *options, "MODEL.WEIGHTS_SKIP_MISMATCHED", True, "SOLVER.MAX_ITER", 1)


def test_precise_bn_and_averaged_weights_exclude_each_other(shapes, tmp_path):
    with pytest.raises(ValueError, match=r"TEST\.PRECISE_BN\.ENABLED and MODEL\.EMA\.ENABLED"):
        run(shapes, tmp_path, "TEST.PRECISE_BN.ENABLED", True)


def test_only_point_detectors_are_evaluated_in_another_precision(shapes, tmp_path):
    options = ("MODEL.META_ARCHITECTURE", "Detectron2FCOS", "TEST.PRECISION", "bfloat16")
    with pytest.raises(ValueError, match="Detectron2FCOS is evaluated in 'float32' only"):
        run(shapes, tmp_path, *options)


# Other datasets and options


def test_several_test_datasets_are_all_evaluated_and_the_first_decides_on_the_best(
    shapes, tmp_path
):
    run(
        shapes,
        tmp_path,
        *("DATASETS.CUSTOM.TEST", "annotations/val.json,annotations/train.json"),
        *("DATASETS.CUSTOM.TEST_IMAGES", "val,train", "TEST.BEST_METRIC", "bbox/AP50"),
        *("SOLVER.MAX_ITER", 1),
    )
    row = metrics(tmp_path)[-1]
    assert {"shapes_val/bbox/AP", "shapes_train/bbox/AP"} <= set(row)
    assert {path.name for path in (tmp_path / "inference").iterdir()} == {
        "shapes_val",
        "shapes_train",
    }
    assert (tmp_path / "model_best.pth").exists()
    best = checkpoint(tmp_path, "model_best.pth")["best"]
    assert best == {"metric": "shapes_val/bbox/AP50", "value": row["shapes_val/bbox/AP50"]}


def test_without_a_test_dataset_training_runs_unevaluated(shapes, tmp_path):
    run(shapes, tmp_path, *UNEVALUATED)
    assert (tmp_path / "model_final.pth").exists()
    assert not (tmp_path / "model_best.pth").exists()
    assert not any("AP" in name for row in metrics(tmp_path) for name in row)


def test_images_without_objects_are_trained_on_when_they_are_not_filtered(shapes, tmp_path):
    annotations = sparse_annotations(shapes, tmp_path, num_annotated=1)
    options = ("DATASETS.CUSTOM.TRAIN", annotations, "DATALOADER.FILTER_EMPTY_ANNOTATIONS", False)
    output = tmp_path / "out"
    schedule = ("SOLVER.IMS_PER_BATCH", 1, "SOLVER.MAX_ITER", 8)
    run(shapes, output, *options, *schedule, *UNEVALUATED)
    row = [row for row in metrics(output) if "total_loss" in row][-1]
    # Medians of the 8 iterations, of which 7 had an image without objects.
    assert row["assignment/num_objects"] == row["loss_pos"] == 0
    assert row["loss_neg"] > 0


def test_without_averaging_the_weights_in_training_are_evaluated_and_saved(shapes, tmp_path):
    run(shapes, tmp_path, "MODEL.EMA.ENABLED", False, "SOLVER.MAX_ITER", 2)
    state = checkpoint(tmp_path)
    assert "AveragedWeights" not in state["trainer"].get("hooks", {})
    results = run(
        shapes,
        tmp_path / "evaluation",
        *("MODEL.EMA.ENABLED", False, "MODEL.WEIGHTS", tmp_path / "model_final.pth"),
        flags=("--eval-only",),
    )
    assert results["bbox"]["AP"] == pytest.approx(metrics(tmp_path)[-1]["bbox/AP"], nan_ok=True)


def test_the_average_starts_from_the_weights_that_all_workers_share(shapes, tmp_path, monkeypatch):
    def share_weights(model, **kwargs):
        """What DistributedDataParallel does: other workers get those of the first."""
        for parameter in model.parameters():
            torch.nn.init.constant_(parameter, 0.5)
        return model

    monkeypatch.setattr("autoassign.engine.trainer.create_ddp_model", share_weights)
    with process_state_kept():
        trainer = Trainer(setup_config(parse(shapes, tmp_path)))
        trainer.resume_or_load(resume=False)
        for hook in trainer._hooks:
            if isinstance(hook, AveragedWeights):
                hook.before_train()
    assert all((parameter == 0.5).all() for parameter in trainer.model.parameters())


def test_decoded_images_are_removed_after_a_training(shapes, tmp_path):
    options = ("DATALOADER.FAST_MAPPER", True, "DATALOADER.CACHE_GB", 0.1, "SOLVER.MAX_ITER", 1)
    run(shapes, tmp_path / "out", *options, *UNEVALUATED)
    assert (tmp_path / "out/model_final.pth").is_file()
    assert not (tmp_path / "out/decoded_images").exists()
