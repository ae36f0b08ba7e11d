import pytest
import torch
import torchvision
from detectron2.config import CfgNode

from autoassign.checkpoint import CheckpointDescription, follow_weights
from autoassign.checkpoint.addresses import download_url
from autoassign.config import load_config, set_options

R50 = "COCO-Detection/autoassign_R_50_FPN_1x.yaml"
MSRA = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
RGB = ("RGB", [123.675, 116.28, 103.53], [58.395, 57.12, 57.375], False)


def configure(options: list[str]) -> CfgNode:
    cfg = load_config(R50, options)
    follow_weights(cfg, set_options(R50, options))
    return cfg


def input_of(cfg: CfgNode) -> tuple:
    model = cfg.MODEL
    mean, std = ([round(x, 3) for x in values] for values in (model.PIXEL_MEAN, model.PIXEL_STD))
    return cfg.INPUT.FORMAT, mean, std, model.RESNETS.STRIDE_IN_1X1


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (MSRA, ("BGR", [103.53, 116.28, 123.675], [1, 1, 1], True)),
        (
            "detectron2://ImageNetPretrained/FAIR/X-101-32x8d.pkl",
            ("BGR", [103.53, 116.28, 123.675], [57.375, 57.12, 58.395], False),
        ),
        ("torchvision://resnet50/IMAGENET1K_V1", RGB),
        ("https://download.pytorch.org/models/resnet50-0676ba61.pth", RGB),
        # One of two of torchvision's that were trained otherwise.
        (
            "torchvision://efficientnet_v2_l/IMAGENET1K_V1",
            ("RGB", [127.5, 127.5, 127.5], [127.5, 127.5, 127.5], False),
        ),
    ],
)
def test_the_input_follows_from_the_weights(weights, expected):
    assert input_of(configure(["MODEL.WEIGHTS", weights])) == expected


@pytest.mark.parametrize("model", ["resnet18", "mobilenet_v3_small", "mnasnet0_5"])
def test_the_input_follows_from_a_local_file(model, tmp_path):
    path = str(tmp_path / "weights.pth")
    torch.save(torchvision.models.get_model(model).state_dict(), path)
    assert input_of(configure(["MODEL.WEIGHTS", path])) == RGB


def test_the_input_follows_from_the_config_inside_a_checkpoint(tmp_path):
    trained = configure(["MODEL.WEIGHTS", "torchvision://resnet50/IMAGENET1K_V1"])
    description = CheckpointDescription("0.2", trained.dump(), [], {})
    path = str(tmp_path / "model_final.pth")
    model = {"backbone.bottom_up.stem.conv1.weight": torch.ones(1)}
    torch.save({"model": model, **description.to_checkpoint()}, path)
    assert input_of(configure(["MODEL.WEIGHTS", path])) == RGB


def test_the_input_follows_from_weights_by_zoo_name(tmp_path, monkeypatch):
    path = tmp_path / R50.replace(".yaml", ".pth")
    path.parent.mkdir()
    torch.save(torchvision.models.resnet18().state_dict(), path)
    monkeypatch.setenv("AUTOASSIGN_MODEL_ZOO", str(tmp_path))
    assert input_of(configure(["MODEL.WEIGHTS", f"autoassign://{R50}"])) == RGB


def test_a_malformed_description_is_named_with_its_file(tmp_path):
    path = str(tmp_path / "odd.pth")
    torch.save({"model": {"weight": torch.ones(1)}, "autoassign": {}}, path)
    with pytest.raises(ValueError, match=r"odd\.pth: its 'autoassign' entry is malformed"):
        configure(["MODEL.WEIGHTS", path])


@pytest.mark.parametrize("weights", ["", "detector"])
def test_weights_that_tell_nothing_leave_the_config_as_it_is(weights, tmp_path):
    if weights:
        weights = str(tmp_path / "detector.pth")
        torch.save({"model": {"backbone.bottom_up.stem.conv1.weight": torch.ones(1)}}, weights)
    options = ["MODEL.WEIGHTS", weights, "MODEL.PIXEL_STD", "[2.0, 2.0, 2.0]"]
    assert input_of(configure(options)) == (
        "BGR",
        [103.53, 116.28, 123.675],
        [2, 2, 2],
        True,
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("INPUT.FORMAT", "BGR"),
        ("MODEL.PIXEL_MEAN", "[103.53, 116.28, 123.675]"),
        ("MODEL.PIXEL_STD", "[1.0, 1.0, 1.0]"),
        ("MODEL.RESNETS.STRIDE_IN_1X1", "True"),
    ],
)
def test_what_contradicts_the_weights_is_an_error(key, value):
    options = ["MODEL.WEIGHTS", "torchvision://resnet50/IMAGENET1K_V1", key, value]
    with pytest.raises(ValueError, match=rf"{key} is .*torchvision.* needs .*follows from"):
        configure(options)


def test_what_agrees_with_the_weights_may_be_set():
    options = ["MODEL.WEIGHTS", MSRA, "INPUT.FORMAT", "BGR", "MODEL.PIXEL_STD", "[1.0, 1.0, 1.0]"]
    assert configure(options).MODEL.PIXEL_STD == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("torchvision://resnet51/DEFAULT", "'resnet51'; torchvision has no such.*resnet50"),
        ("torchvision://resnet50/V9", "weights of resnet50 are IMAGENET1K_V1, IMAGENET1K_V2"),
    ],
)
def test_what_torchvision_lacks_is_an_error_that_says_what_it_has(weights, message):
    with pytest.raises(ValueError, match=message):
        configure(["MODEL.WEIGHTS", weights])


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (
            "torchvision://mobilenet_v2/IMAGENET1K_V1",
            "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
        ),
        (MSRA, "https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/MSRA/R-50.pkl"),
        (
            "catalog://ImageNetPretrained/FAIR/X-101-64x4d",
            "https://dl.fbaipublicfiles.com/detectron/ImageNetPretrained/FBResNeXt/X-101-64x4d.pkl",
        ),
        ("https://example.org/x.pth", "https://example.org/x.pth"),
    ],
)
def test_the_url_that_a_browser_takes(address, url):
    assert download_url(address) == url
