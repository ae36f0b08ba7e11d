"""The LazyConfig files: the same as the YAML files of their names, and run by the same command."""

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode, LazyConfig, get_cfg, instantiate
from detectron2.modeling import build_model
from narrow_model import image_input
from omegaconf import DictConfig
from torch import nn
from training_runs import metrics, process_state_kept

from autoassign import add_autoassign_config, get_config_file
from autoassign.cli import main
from autoassign.engine.optimizer import build_optimizer
from autoassign.engine.schedule import build_lr_scheduler
from autoassign.runs import load_detector

ROUTES = {
    "autoassign_R_50_FPN_1x": "COCO-Detection/autoassign_R_50_FPN_1x",
    "dsla_R_50_FPN_1x": "COCO-Detection/dsla_R_50_FPN_1x",
    "finetune_MobileNetV2_FPN": "finetune/autoassign_MobileNetV2_FPN",
}


def load_yaml(name: str) -> CfgNode:
    cfg = get_cfg()
    add_autoassign_config(cfg)
    cfg.merge_from_file(get_config_file(f"{ROUTES[name]}.yaml"))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.POINT_HEAD.NUM_CLASSES", 80])
    return cfg


def load_lazy(name: str) -> DictConfig:
    return LazyConfig.load(get_config_file(f"lazy/{name}.py"))


def groups(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, tuple]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    keys = ("lr", "weight_decay", "momentum", "betas")
    return {
        names[parameter]: tuple(group.get(key) for key in keys)
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize("name", ROUTES)
def test_both_routes_build_the_same_model_and_give_the_same_losses(name):
    theirs = build_model(load_yaml(name)).train()
    ours = instantiate(load_lazy(name).model).train()
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert [p.requires_grad for p in ours.parameters()] == [
        p.requires_grad for p in theirs.parameters()
    ]
    ours.load_state_dict(theirs.state_dict())
    batch = [image_input([[10.0, 12.0, 90.0, 80.0], [4.0, 4.0, 20.0, 30.0]], [3, 70])]
    torch.testing.assert_close(ours(batch), theirs(batch))


@pytest.mark.parametrize("name", ROUTES)
def test_both_routes_train_alike(name):
    yaml, lazy = load_yaml(name), load_lazy(name)
    model = build_model(yaml)
    theirs = build_optimizer(yaml, model)
    lazy.optimizer.params.model = model
    assert groups(instantiate(lazy.optimizer), model) == groups(theirs, model)

    max_iter = yaml.SOLVER.MAX_ITER
    assert lazy.train.max_iter == max_iter
    their_rate = build_lr_scheduler(yaml, theirs)._multiplier
    our_rate = instantiate(lazy.lr_multiplier)
    for share in (0, 0.001, 0.02, 0.04, 0.3, 0.67, 0.9, 0.999):
        assert our_rate(share) == pytest.approx(their_rate(share))

    clip = yaml.SOLVER.CLIP_GRADIENTS
    expected = clip.CLIP_VALUE if clip.ENABLED else None
    assert lazy.train.get("clip_gradient_norm") == expected
    ema = yaml.MODEL.EMA
    assert lazy.train.get("ema_decay") == (ema.DECAY if ema.ENABLED else None)
    assert lazy.train.init_checkpoint == yaml.MODEL.WEIGHTS
    data = lazy.dataloader.train
    assert data.total_batch_size == yaml.SOLVER.IMS_PER_BATCH
    assert data.mapper.image_format == yaml.INPUT.FORMAT
    assert ("FastDatasetMapper" in str(data.mapper._target_)) == yaml.DATALOADER.FAST_MAPPER
    resize = data.mapper.augmentations[0]
    assert tuple(resize.short_edge_length) == yaml.INPUT.MIN_SIZE_TRAIN
    assert (resize.max_size, resize.sample_style) == (
        yaml.INPUT.MAX_SIZE_TRAIN,
        yaml.INPUT.MIN_SIZE_TRAIN_SAMPLING,
    )


def lazily(shapes: Path, output: Path, *words: str) -> list[str]:
    """A command line that trains a narrow detector on the shapes by a LazyConfig."""
    custom = (
        f"{{format: coco, root: {shapes}, train: annotations/train.json, train_images: train, "
        "test: annotations/val.json, test_images: val}"
    )
    return [
        *("train", "--config-file", "lazy/finetune_MobileNetV2_FPN.py", f"custom={custom}"),
        *(
            "dataloader.train.total_batch_size=2",
            "model.backbone.bottom_up.name=mobilenet_v3_small",
        ),
        *(f"train.output_dir={output}", "train.device=cpu", "train.init_checkpoint=''"),
        *("train.checkpointer.period=1", "train.eval_period=0", *words),
    ]


def test_a_lazy_config_is_trained_resumed_and_evaluated_by_the_same_command(
    shapes, tmp_path, capsys
):
    def run(*words: str) -> None:
        with process_state_kept():
            assert main(lazily(shapes, tmp_path, *words)) == 0

    run("train.max_iter=1")
    assert (tmp_path / "model_0000000.pth").is_file()
    with pytest.raises(SystemExit, match="2"):
        run("train.max_iter=1")
    assert "holds a training already" in capsys.readouterr().err
    config = (tmp_path / "config.yaml").read_bytes()
    with pytest.raises(SystemExit, match="2"):
        run("train.max_iter=2", "model.backbone.out_channels=32", "--resume")
    assert (tmp_path / "config.yaml").read_bytes() == config
    with (tmp_path / "metrics.json").open("a") as file:
        file.write('{"iteration": 7, "lo')  # as a kill leaves it
    (tmp_path / "last_checkpoint").write_text("../elsewhere.pth")
    capsys.readouterr()
    run("train.max_iter=2", "--resume")
    trained = [row["iteration"] for row in metrics(tmp_path) if "total_loss" in row]
    assert sorted(set(trained)) == [0, 1]
    out = capsys.readouterr().out
    assert "iteration 2/2  total_loss" in out
    assert "evaluation after 2 iterations" in out
    config = (tmp_path / "config.yaml").read_bytes()
    with process_state_kept():
        command = ["eval", *lazily(shapes, tmp_path)[1:]]
        assert main([*command, "--weights", str(tmp_path / "model_final.pth")]) == 0
    assert (tmp_path / "config.yaml").read_bytes() == config
    assert "AP50" in capsys.readouterr().out
    # Classes come from the folder; other verbs need the YAML file of the same detector.
    weights = str(tmp_path / "model_final.pth")
    with pytest.raises(
        ValueError, match=r"--config-file, a YAML file .*config\.yaml is a LazyConfig"
    ):
        load_detector(weights=weights)
    options = ["MODEL.TORCHVISION.NAME", "mobilenet_v3_small"]
    detector = load_detector("finetune/autoassign_MobileNetV2_FPN.yaml", weights, options)
    assert detector.model.head.cls_score.out_channels == 6


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("train.max_itr=3", "train.max_itr is none of train's options: amp, "),
        ("SOLVER.MAX_ITER=3", "no option of a LazyConfig, whose sections are model, optimizer"),
        ("train.max_iter=[3", "train.max_iter=[3 cannot be set: no viable alternative at"),
        ("train.max_iter.x=3", "cannot be set: Trying to update key train.max_iter.x, but"),
        ("model.head.num_conv=3", "model: PointHead.__init__() got an unexpected keyword argument"),
        ("optimizer.rate=3", "optimizer: AdamW.__init__() got an unexpected keyword argument"),
        ("custom.rot=x", "custom has rot; its options are format, root, "),
        ("custom.root=nowhere", "nowhere is not a folder"),
        ("custom.test=''", "custom has no test split: set custom.test or custom.val_fraction"),
        (
            "custom.val_fraction=1.5",
            "DATASETS.CUSTOM.VAL_FRACTION is 1.5; it must be at least 0 and",
        ),
    ],
)
def test_wrong_overrides_get_one_sentence(shapes, tmp_path, capsys, word, sentence):
    with process_state_kept(), pytest.raises(SystemExit, match="2"):
        main(lazily(shapes, tmp_path, word))
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert last_line.startswith("autoassign train: error: ")
    assert sentence in last_line
