"""Detectors of MMDetection: the converted weights give its outputs.

The vectors were written by make_mmdet_vectors.py with MMDetection 3.3.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from drawn_weights import drawn_input, drawn_tensor
from parity import assert_parity

from autoassign.checkpoint import (
    convert_checkpoint,
    read_weight_file,
    to_mmdetection,
    write_weight_file,
)
from autoassign.checkpoint.conversion.mmdetection import DSLA
from autoassign.config import check_values, load_config, load_config_text

VECTORS = Path(__file__).parents[2] / "golden_vectors" / "mmdetection"
SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "golden"
NUM_CLASSES = 7
CAFFE = [
    [102.9801, 115.9465, 122.7717],
    [1.0, 1.0, 1.0],
    "BGR",
    True,
]
PYTORCH = [[123.675, 116.28, 103.53], [58.395, 57.12, 57.375], "RGB", False]


def vectors(name: str) -> dict[str, np.ndarray]:
    with np.load(VECTORS / f"{name}.npz") as file:
        return dict(file)


def source(name: str) -> dict[str, torch.Tensor]:
    """The state dict whose outputs are in the file."""
    file = vectors(name)
    shapes = [tuple(map(int, text.split())) for text in file["shapes"]]
    return {
        str(key): torch.zeros(shape, dtype=torch.long)
        if key.endswith(("num_batches_tracked", "relative_position_index"))
        else torch.from_numpy(drawn_tensor(str(key), shape))
        for key, shape in zip(file["names"], shapes, strict=True)
    }


def as_tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def detector_of(checkpoint: dict) -> tuple[CfgNode, torch.nn.Module]:
    text = checkpoint["autoassign"]["config"]
    cfg = load_config_text(text, ("MODEL.DEVICE", "cpu"), source="the checkpoint")
    check_values(cfg)
    model = build_model(cfg).eval()
    model.load_state_dict(checkpoint["model"])
    return cfg, model


def assert_equal_tensors(back: dict, theirs: dict) -> None:
    assert back.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert back[name].dtype == tensor.dtype, name
        assert torch.equal(back[name], tensor), name


def converted(name: str, tmp_path: Path, style: str | None, meta: dict | None = None) -> dict:
    path = tmp_path / f"{name}.pth"
    torch.save({"meta": meta or {}, "state_dict": source(name)}, path)
    return convert_checkpoint(read_weight_file(path), source=path.name, style=style)


@pytest.mark.parametrize(
    ("name", "style", "strategy"),
    [
        ("autoassign_r50_caffe", "caffe", "AutoAssign"),
        ("autoassign_r50_pytorch", "pytorch", "AutoAssign"),
        ("fcos_r50_caffe", "caffe", "FCOS"),
        ("dsla_r50_caffe", None, "DSLA"),
        ("dsla_r50_dcn", None, "DSLA"),
        ("dsla_swin", None, "DSLA"),
        ("atss_r18", None, "ATSS"),
    ],
)
def test_outputs_are_those_of_mmdetection(tmp_path, name, style, strategy):
    cfg, model = detector_of(converted(name, tmp_path, style))
    assert strategy == cfg.MODEL.LABEL_ASSIGNMENT.NAME
    outputs = {key: value for key, value in vectors(name).items() if value.dtype == "f4"}
    assert_parity(name, model, torch.from_numpy(drawn_input()), as_tensors(outputs))


@pytest.mark.parametrize("style", ["caffe", "pytorch"])
def test_outputs_of_the_shared_checkpoints(style):
    path = SHARED / f"mmdet_autoassign_r50_{style}_narrow.pth"
    if not path.is_file():
        pytest.skip("the checkpoints of MMDetection are not in ../shared/golden")
    theirs = read_weight_file(path)
    checkpoint = convert_checkpoint(theirs, source=path.name, style=style)
    assert_equal_tensors(to_mmdetection(checkpoint, source="x")["state_dict"], theirs["model"])
    with np.load(str(path).replace(".pth", "_outputs.npz")) as file:
        outputs = as_tensors({key.replace("obj_", "extra_"): file[key] for key in file})
    image = outputs.pop("input")
    assert_parity(path.name, detector_of(checkpoint)[1], image, outputs)


@pytest.mark.parametrize(
    ("name", "style", "expected"),
    [("autoassign_r50_caffe", "caffe", CAFFE), ("autoassign_r50_pytorch", "pytorch", PYTORCH)],
)
def test_the_config_follows_from_style_and_shapes(tmp_path, name, style, expected):
    cfg, _ = detector_of(converted(name, tmp_path, style))
    assert expected == [
        cfg.MODEL.PIXEL_MEAN,
        cfg.MODEL.PIXEL_STD,
        cfg.INPUT.FORMAT,
        cfg.MODEL.RESNETS.STRIDE_IN_1X1,
    ]
    assert cfg.MODEL.FPN.TOP_BLOCK_IN_FEATURE == "res5"
    assert cfg.MODEL.POINT_HEAD.NUM_CLASSES == NUM_CLASSES
    assert cfg.MODEL.POINT_HEAD.CONV_BIAS is True
    assert cfg.MODEL.WEIGHTS == ""


# As MMDetection 2 and 3 print a config.
MMDET_2 = (
    "model = dict(backbone=dict(depth=50, style='pytorch'))\n"
    "img_norm_cfg = dict(mean=[1.5, 2.5, 3.5], std=[4.0, 5.0, 6.0], to_rgb=True)\n"
)
MMDET_3 = (
    "model = dict(backbone=dict(depth=50, style='caffe'), data_preprocessor=dict("
    "bgr_to_rgb=False, mean=[\n 1.5,\n 2.5,\n 3.5,\n], std=[\n 1.0,\n 1.0,\n 1.0,\n]))\n"
)


@pytest.mark.parametrize(
    ("meta", "image_format", "std", "stride_in_1x1"),
    [
        ({"config": MMDET_2, "CLASSES": tuple("abcdefg")}, "RGB", [4.0, 5.0, 6.0], False),
        ({"cfg": MMDET_3, "dataset_meta": {"classes": tuple("abcdefg")}}, "BGR", [1, 1, 1], True),
    ],
)
def test_what_a_file_says_of_itself_is_taken(tmp_path, meta, image_format, std, stride_in_1x1):
    checkpoint = converted("autoassign_r50_caffe", tmp_path, None, meta)
    cfg, _ = detector_of(checkpoint)
    assert cfg.MODEL.PIXEL_MEAN == [1.5, 2.5, 3.5]
    assert std == cfg.MODEL.PIXEL_STD
    assert image_format == cfg.INPUT.FORMAT
    assert cfg.MODEL.RESNETS.STRIDE_IN_1X1 is stride_in_1x1
    assert checkpoint["autoassign"]["thing_classes"] == list("abcdefg")
    assert checkpoint["autoassign"]["thing_dataset_id_to_contiguous_id"] == {
        index: index for index in range(7)
    }


@pytest.mark.parametrize(
    ("text", "relu"),
    [("", True), ("relu_before_extra_convs=True", True), ("add_extra_convs='on_output'", False)],
)
def test_a_relu_before_p7_is_there_if_the_file_says_so(tmp_path, text, relu):
    checkpoint = converted("autoassign_r50_caffe", tmp_path, "caffe", {"config": text})
    assert detector_of(checkpoint)[0].MODEL.FPN.TOP_BLOCK_RELU is relu


def test_a_style_that_nothing_tells_has_to_be_given(tmp_path):
    with pytest.raises(ValueError, match=r"MMDetection's FCOS: .* --style caffe, or --style pyt"):
        converted("fcos_r50_caffe", tmp_path, None)


def test_the_first_form_of_fcos_is_refused(tmp_path):
    state = source("fcos_r50_caffe")
    state = {
        name: tensor
        for name, tensor in state.items()
        if not (name.endswith("conv.bias") and "_convs" in name and "bbox_head" in name)
    }
    with pytest.raises(ValueError, match="first form of FCOS"):
        convert_checkpoint({"model": state}, source="x.pth", style="caffe")
    text = "style='caffe', norm_on_bbox=True, centerness_on_reg=False"
    checkpoint = {"model": source("fcos_r50_caffe"), "meta": {"config": text}}
    with pytest.raises(ValueError, match="centerness_on_reg=False"):
        convert_checkpoint(checkpoint, source="x.pth")


def test_unknown_tensors_are_listed():
    state = source("autoassign_r50_caffe") | {"bbox_head.dfl.weight": torch.zeros(2)}
    with pytest.raises(
        ValueError, match=r"MMDetection's AutoAssign, but 1 of its .* bbox_head\.dfl\.weight"
    ):
        convert_checkpoint({"model": state}, source="x.pth", style="caffe")


def test_missing_tensors_are_listed():
    state = source("autoassign_r50_caffe")
    del state["bbox_head.reg_convs.1.gn.bias"]
    with pytest.raises(ValueError, match=r"head\.box_tower\.4\.bias"):
        convert_checkpoint({"model": state}, source="x.pth", style="caffe")


def test_an_unknown_source_is_refused_with_its_names():
    state = {"model.0.conv.weight": torch.zeros(2), "model.22.dfl.conv.weight": torch.zeros(2)}
    with pytest.raises(ValueError, match=r"yolo\.pt is of no source .* model\.0\.conv\.weight"):
        convert_checkpoint({"model": state}, source="yolo.pt")


def test_a_resnet_that_does_not_exist_is_refused():
    state = source("autoassign_r50_caffe")
    state = {name: x for name, x in state.items() if not name.startswith("backbone.layer3.5")}
    with pytest.raises(ValueError, match=r"no ResNet with \(3, 4, 5, 3\) bottleneck blocks"):
        convert_checkpoint({"model": state}, source="x.pth", style="caffe")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_way_to_mmdetection_and_back_changes_nothing(tmp_path, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    theirs = source("autoassign_r50_caffe")
    ours = converted("autoassign_r50_caffe", tmp_path, "caffe", {"CLASSES": tuple("abcdefg")})
    write_weight_file(tmp_path / f"ours{suffix}", ours)
    back = to_mmdetection(read_weight_file(tmp_path / f"ours{suffix}"), source="ours")
    assert back["meta"]["dataset_meta"]["classes"] == tuple("abcdefg")
    assert_equal_tensors(back["state_dict"], theirs)


def test_what_mmdetections_autoassign_lacks_is_not_written(tmp_path):
    ours = converted("autoassign_r50_caffe", tmp_path, "caffe")
    ours["model"]["backbone.fpn_lateral3.norm.weight"] = torch.ones(32)
    with pytest.raises(ValueError, match=r"it has backbone\.fpn_lateral3\.norm\.weight"):
        to_mmdetection(ours, source="ours.pth")


def test_a_detector_without_objectness_is_no_autoassign_of_mmdetection(tmp_path):
    ours = converted("autoassign_r50_caffe", tmp_path, "caffe")
    for name in ("head.obj_score.weight", "head.obj_score.bias"):
        del ours["model"][name]
    with pytest.raises(ValueError, match=r"it lacks bbox_head\.conv_centerness\.weight"):
        to_mmdetection(ours, source="ours.pth")


def test_deformable_convolutions_of_backbone_and_head(tmp_path):
    """DSLA's R-101 has DCNv1 in res3 to res5 and DCNv2 at the end of its towers."""
    options = (
        *("MODEL.DEVICE", "cpu", "MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.NORM", "FrozenBN"),
        *("MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.RES2_OUT_CHANNELS", 32),
        *("MODEL.RESNETS.WIDTH_PER_GROUP", 8, "MODEL.FPN.OUT_CHANNELS", 32),
        *("MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, True, True, True]),
        *("MODEL.POINT_HEAD.NUM_CLASSES", NUM_CLASSES, "MODEL.WEIGHTS", ""),
    )
    cfg = load_config("Base-DSLA-tricks.yaml", options)
    ours = build_model(cfg).state_dict()
    names = {
        "backbone.bottom_up.res3.1.conv2_offset.bias": "backbone.layer2.1.conv2.conv_offset.bias",
        "backbone.bottom_up.res5.0.shortcut.norm.bias": "backbone.layer4.0.downsample.1.bias",
        "head.box_tower.9.offset_mask.bias": "bbox_head.reg_convs.3.conv.conv_offset.bias",
        "head.box_tower.10.weight": "bbox_head.reg_convs.3.gn.weight",
    }
    theirs = {}
    for name, tensor in ours.items():
        if name == "head.scales":
            theirs |= {f"bbox_head.scales.{i}.scale": scale for i, scale in enumerate(tensor)}
        else:
            theirs[DSLA.to_theirs(name)] = tensor
    assert {DSLA.to_theirs(name) for name in names} == set(names.values())
    assert set(names.values()) <= set(theirs)
    converted_cfg, model = detector_of(convert_checkpoint({"model": theirs}, source="x.pth"))
    assert converted_cfg.MODEL.RESNETS == cfg.MODEL.RESNETS
    assert converted_cfg.MODEL.POINT_HEAD == cfg.MODEL.POINT_HEAD
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, ours[name])
