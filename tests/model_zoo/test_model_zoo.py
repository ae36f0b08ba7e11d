"""Weights by zoo name: from a mirror, and what is said without one."""

import hashlib
import http.server
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from narrow_model import NARROW

from autoassign import __version__, model_zoo
from autoassign.checkpoint import (
    PUBLISHED,
    CheckpointDescription,
    check_published,
    read_weight_file,
    write_weight_file,
)
from autoassign.config import load_config

NAME = "COCO-Detection/autoassign_R_50_FPN_1x.yaml"
SMALL = (*NARROW, "MODEL.POINT_HEAD.NUM_CLASSES", 3)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with weights of a narrow detector under the name of another config."""
    cfg = load_config("Base-Small.yaml", SMALL)
    description = CheckpointDescription(
        __version__, cfg.dump(), ["ant", "bee", "cow"], {0: 0, 1: 1, 2: 2}
    )
    (tmp_path / "COCO-Detection").mkdir()
    write_weight_file(
        tmp_path / NAME.replace(".yaml", ".pth"),
        {"model": build_model(cfg).state_dict(), **description.to_checkpoint()},
    )
    monkeypatch.setenv("AUTOASSIGN_MODEL_ZOO", str(tmp_path))
    return tmp_path


def test_trained_weights_come_with_the_config_they_were_made_with(mirror):
    file = str(mirror / NAME.replace(".yaml", ".pth"))
    assert model_zoo.get_checkpoint_url(NAME) == file
    cfg = model_zoo.get_config(NAME, trained=True)
    assert cfg.MODEL.POINT_HEAD.NUM_CLASSES == 3
    assert file == cfg.MODEL.WEIGHTS
    model = model_zoo.get(NAME, trained=True, device="cpu")
    expected = read_weight_file(file)["model"]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name])


def test_the_zoo_name_is_an_address_of_weights(mirror):
    by_name = read_weight_file(f"autoassign://{NAME}")
    by_file = read_weight_file(mirror / NAME.replace(".yaml", ".pth"))
    assert by_name["autoassign"] == by_file["autoassign"]


def test_untrained_configs_are_those_that_training_begins_with():
    cfg = model_zoo.get_config(NAME)
    assert cfg.MODEL.WEIGHTS == "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
    assert model_zoo.get_config_file(NAME).endswith(NAME)


def test_a_mirror_may_be_an_address(monkeypatch):
    monkeypatch.setenv("AUTOASSIGN_MODEL_ZOO", "https://example.org/zoo/")
    expected = "https://example.org/zoo/COCO-Detection/autoassign_R_50_FPN_1x.pth"
    assert model_zoo.get_checkpoint_url(NAME) == expected


def test_a_mirror_may_hold_safetensors(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOASSIGN_MODEL_ZOO", str(tmp_path))
    path = tmp_path / NAME.replace(".yaml", ".safetensors")
    path.parent.mkdir()
    path.touch()
    assert model_zoo.get_checkpoint_url(NAME) == str(path)


def test_without_a_mirror_the_source_and_the_command_are_named(monkeypatch):
    monkeypatch.delenv("AUTOASSIGN_MODEL_ZOO", raising=False)
    with pytest.raises(FileNotFoundError) as error:
        model_zoo.get_checkpoint_url(NAME)
    message = str(error.value)
    assert "AUTOASSIGN_MODEL_ZOO is not set" in message
    assert "MMDetection publishes some (40.4 AP, Apache-2.0): `export AUTOASSIGN_MODEL_" in message
    command = "$AUTOASSIGN_MODEL_ZOO/COCO-Detection/autoassign_R_50_FPN_1x.pth`"
    assert message.endswith(f"5e17991f.pth {command}")
    with pytest.raises(OSError, match=r"^autoassign://COCO.* cannot be fetched: no weights"):
        read_weight_file(f"autoassign://{NAME}")


def test_a_mirror_without_the_weights_is_named(mirror):
    name = "COCO-Detection/fcos_R_50_FPN_1x.yaml"
    with pytest.raises(FileNotFoundError, match=rf"{mirror} .* has no COCO-Detection/fcos_R_50"):
        model_zoo.get_checkpoint_url(name)
    with pytest.raises(FileNotFoundError, match="none are published"):
        model_zoo.get_checkpoint_url("COCO-Detection/autoassign_R_50_FPN_13ep.yaml")


def test_a_mirror_that_answers_404_is_named_with_the_source(monkeypatch, tmp_path):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    # Of an empty folder.
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AUTOASSIGN_MODEL_ZOO", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(OSError, match=r"_1x\.pth: HTTP Error 404.*MMDetection publishes some"):
            model_zoo.get_config(NAME, trained=True)
        server.shutdown()


def test_trained_weights_need_a_head(mirror):
    path = mirror / NAME.replace(".yaml", ".pth")
    checkpoint = read_weight_file(path)
    model = checkpoint["model"]
    checkpoint["model"] = {k: v for k, v in model.items() if not k.startswith("head.")}
    write_weight_file(path, checkpoint)
    with pytest.raises(ValueError, match="the weights have no head"):
        model_zoo.get(NAME, trained=True, device="cpu")


def test_an_unknown_config_is_an_error(mirror):
    with pytest.raises(FileNotFoundError, match=r"nothing\.yaml is neither a file nor a config"):
        model_zoo.get("nothing.yaml", trained=True)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_index_names_shipped_configs(name):
    model_zoo.get_config_file(name)
    published = PUBLISHED[name]
    assert published.url.startswith("https://")
    # OpenMMLab names files by the beginning of their hash.
    assert not published.sha256 or published.url.endswith(f"-{published.sha256}.pth")


def test_another_file_under_a_published_name_is_an_error(tmp_path):
    url = PUBLISHED[NAME].url
    path = tmp_path / "file"
    path.write_bytes(b"something else")
    found = hashlib.sha256(b"something else").hexdigest()[:8]
    with pytest.raises(ValueError, match=f"begins with {found}, not 5e17991f"):
        check_published(url, str(path))
    check_published("mine.pth", str(path))
