from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectors import CLASS_NAMES, assert_same, detector_cfg, picture
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model
from PIL import Image

from autoassign.inference import Predictor
from autoassign.runs import load_detector_from_config


def test_it_is_the_detector_on_the_resized_image_with_boxes_scaled_back(weights):
    image = picture(100, 160)
    [ours] = Predictor(detector_cfg(weights))([image])

    cfg = detector_cfg(weights)
    model = build_model(cfg).eval()
    DetectionCheckpointer(model).load(weights)
    # 96 pixels on the shorter side.
    resized = np.array(Image.fromarray(image).resize((154, 96), Image.Resampling.BILINEAR))
    with torch.no_grad():
        [output] = model([{"image": torch.from_numpy(resized).permute(2, 0, 1)}])
    theirs = output["instances"]
    scale = torch.tensor([160 / 154, 100 / 96, 160 / 154, 100 / 96])
    assert len(ours) == len(theirs) > 0
    torch.testing.assert_close(ours.scores, theirs.scores)
    torch.testing.assert_close(ours.pred_boxes.tensor, theirs.pred_boxes.tensor * scale)
    assert ours.image_size == (100, 160)


def test_images_of_different_sizes_together_equal_one_by_one(weights):
    sizes = [(100, 160), (160, 100), (96, 96), (100, 160), (40, 300), (101, 160)]
    images = [picture(*size, seed=seed) for seed, size in enumerate(sizes)]
    predictor = Predictor(detector_cfg(weights), batch_size=3)
    together = predictor(images)
    for image, result in zip(images, together, strict=True):
        assert_same(result, predictor([image])[0])


def test_no_more_images_than_the_batch_size_go_through_the_network_at_once(weights):
    predictor = Predictor(detector_cfg(weights), batch_size=2)
    sizes = []
    predictor.model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    predictor([picture(64, 64, seed) for seed in range(5)])
    assert sizes == [2, 2, 1]


def test_no_image_gives_no_result(weights):
    assert Predictor(detector_cfg(weights))([]) == []


def test_images_are_turned_into_the_channel_order_of_the_config(weights):
    image = picture(64, 96)
    [bgr] = Predictor(detector_cfg(weights))([image])
    [rgb] = Predictor(detector_cfg(weights, "INPUT.FORMAT", "RGB"))([image[:, :, ::-1]])
    assert_same(rgb, bgr)


def test_only_the_wanted_classes_are_found_and_the_others_take_no_place(weights):
    image = picture(128, 128)
    everything = Predictor(detector_cfg(weights, "TEST.DETECTIONS_PER_IMAGE", 100_000))([image])[0]
    wanted = everything[(everything.pred_classes == 1) | (everything.pred_classes == 4)][:8]
    predictor = Predictor(detector_cfg(weights), classes=["elk", "bee"], class_names=CLASS_NAMES)
    assert_same(predictor([image])[0], wanted)


def test_a_loaded_detector_is_taken_and_not_changed(weights):
    image = picture(128, 128)
    detector = load_detector_from_config(detector_cfg(weights), class_names=CLASS_NAMES)
    [elks] = Predictor(detector, classes=["elk"])([image])
    assert set(elks.pred_classes.tolist()) == {4}
    predictor = Predictor(detector)
    assert predictor.model is detector.model
    assert_same(predictor([image])[0], Predictor(detector_cfg(weights))([image])[0])


def test_an_unknown_class_is_an_error_that_lists_the_known_ones(weights):
    with pytest.raises(ValueError, match=r"no class 'cat'.*ant, bee, cow, dog, elk"):
        Predictor(detector_cfg(weights), classes=["bee", "cat"], class_names=CLASS_NAMES)


def test_the_number_of_classes_may_come_from_the_weights(weights):
    predictor = Predictor(detector_cfg(weights, "MODEL.POINT_HEAD.NUM_CLASSES", 0))
    assert predictor.metadata.thing_classes == [f"class {index}" for index in range(5)]
    assert_same(
        predictor([picture(64, 64)])[0], Predictor(detector_cfg(weights))([picture(64, 64)])[0]
    )


def test_the_config_is_not_changed(weights):
    cfg = detector_cfg(weights, "MODEL.POINT_HEAD.NUM_CLASSES", 0)
    cfg.freeze()
    Predictor(cfg)
    assert cfg.MODEL.POINT_HEAD.NUM_CLASSES == 0


def test_weights_are_needed():
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS is empty"):
        Predictor(detector_cfg(""))


def test_weights_that_do_not_exist_are_named():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth does not exist"):
        Predictor(detector_cfg("nowhere.pth"))


def test_weights_of_other_shapes_are_an_error_in_any_case(weights):
    options = ("MODEL.POINT_HEAD.NUM_CLASSES", 2, "MODEL.WEIGHTS_SKIP_MISMATCHED", True)
    with pytest.raises(ValueError, match=r"do not fit.*\(5, 32, 3, 3\) in the file"):
        Predictor(detector_cfg(weights, *options))


def test_weights_of_a_backbone_alone_are_an_error(weights, tmp_path):
    model = torch.load(weights)["model"]
    backbone = {name: x for name, x in model.items() if name.startswith("backbone.")}
    torch.save({"model": backbone}, tmp_path / "backbone.pth")
    with pytest.raises(
        ValueError, match=r"backbone\.pth does not fit .*: the weights have no head"
    ):
        Predictor(detector_cfg(str(tmp_path / "backbone.pth")))


def test_what_the_assignment_has_learned_is_not_needed(weights, tmp_path):
    model = torch.load(weights)["model"]
    rest = {name: x for name, x in model.items() if not name.startswith("label_assignment.")}
    assert len(rest) < len(model)
    torch.save({"model": rest}, tmp_path / "rest.pth")
    Predictor(detector_cfg(str(tmp_path / "rest.pth")))


@pytest.mark.parametrize("name", ["head.obj_score.bias", "head.ctr_score.bias"])
def test_weights_of_another_head_are_an_error(weights, tmp_path, name):
    checkpoint = torch.load(weights)
    checkpoint["model"] = {
        name: tensor for name, tensor in checkpoint["model"].items() if "obj_score" not in name
    } | {name: torch.zeros(1)}
    torch.save(checkpoint, tmp_path / "other.pth")
    options = ("MODEL.POINT_HEAD.OBJECTNESS", "none")
    with pytest.raises(ValueError, match=rf"{name}, .*another label assignment or objectness\?"):
        Predictor(detector_cfg(str(tmp_path / "other.pth"), *options))


def test_what_another_assignment_has_learned_is_passed_over(weights, tmp_path):
    checkpoint = torch.load(weights)
    checkpoint["model"]["label_assignment.other"] = torch.zeros(1)
    torch.save(checkpoint, tmp_path / "other.pth")
    Predictor(detector_cfg(str(tmp_path / "other.pth")))


@pytest.mark.parametrize("num_classes", [0, 5])
@pytest.mark.parametrize("suffix", ["pth", "pkl"])
@pytest.mark.parametrize("content", ["no checkpoint", "image", "half", "key", "empty"])
def test_a_file_that_is_no_checkpoint_is_an_error_that_names_it(
    weights, tmp_path, suffix, content, num_classes
):
    path = tmp_path / f"broken.{suffix}"
    content = {
        "image": cv2.imencode(".jpg", picture(64, 64))[1].tobytes(),
        "half": Path(weights).read_bytes()[:5000],
        "key": b"h",  # "get from memo": a KeyError
        "empty": b"",
    }.get(content, content.encode())
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"broken\.{suffix} cannot be read as a checkpoint"
    ) as error:
        Predictor(detector_cfg(str(path), "MODEL.POINT_HEAD.NUM_CLASSES", num_classes))
    assert "Set it" not in str(error.value)


@pytest.mark.parametrize("content", [[1, 2], {"model": 3}, {"epoch": 3}])
def test_a_checkpoint_without_a_model_is_an_error(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth is no checkpoint"):
        Predictor(detector_cfg(str(tmp_path / "other.pth")))


def test_the_number_of_classes_of_a_backbone_is_not_known(tmp_path):
    torch.save({"model": {"backbone.x": torch.zeros(1)}}, tmp_path / "backbone.pth")
    with pytest.raises(ValueError, match=r"backbone\.pth: there is no tensor head\.cls_score"):
        Predictor(detector_cfg(str(tmp_path / "backbone.pth"), "MODEL.POINT_HEAD.NUM_CLASSES", 0))


def test_an_unknown_kind_of_address_is_an_error():
    with pytest.raises(FileNotFoundError, match=r"ftpp://x\.pth does not exist"):
        Predictor(detector_cfg("ftpp://x.pth"))


@pytest.mark.parametrize("min_size", [96, 0])
def test_an_image_whose_short_side_would_vanish_has_detections_inside_it(weights, min_size):
    options = ("INPUT.MIN_SIZE_TEST", min_size)
    [instances] = Predictor(detector_cfg(weights, *options))([picture(20_000, 30)])
    assert len(instances) > 0
    assert instances.image_size == (20_000, 30)
    assert (instances.pred_boxes.tensor <= torch.tensor([30, 20_000, 30, 20_000])).all()


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)]
)
def test_an_array_that_is_no_image_is_an_error(weights, image):
    with pytest.raises(ValueError, match="image 1 is"):
        Predictor(detector_cfg(weights))([picture(8, 8), image])


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        (("MODEL.META_ARCHITECTURE", "RetinaNet"), {}, r"ARCHITECTURE is RetinaNet"),
        (("MODEL.DEVICE", "foo"), {}, r"MODEL\.DEVICE is 'foo'; .*cpu, cuda or cuda:1"),
        (("INPUT.MIN_SIZE_TEST", -1), {}, r"INPUT\.MIN_SIZE_TEST is -1"),
        (("INPUT.FORMAT", "L"), {}, r"INPUT\.FORMAT is 'L'; it must be one of: BGR, RGB"),
        ((), {"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_values_that_are_not_allowed(weights, options, arguments, message):
    with pytest.raises(ValueError, match=message):
        Predictor(detector_cfg(weights, *options), **arguments)
