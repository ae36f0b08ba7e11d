"""Reading weights: every kind of file that is good, and what is refused."""

import contextlib
import http.server
import io
import os
import pickle
import sys
import tarfile
import threading
import types
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from full_disk import file_size_limit

from autoassign.checkpoint import PointCheckpointer, read_weight_file, write_weight_file


@pytest.fixture
def bomb(tmp_path):
    """An object that creates a file when it is unpickled, and the file."""
    marker = tmp_path / "the_payload_ran"

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    return Bomb(), marker


def write_zip(path: Path, content: object) -> None:
    torch.save(content, path)


def write_legacy(path: Path, content: object) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_pickle(path: Path, content: object) -> None:
    path.write_bytes(pickle.dumps(content))


def write_tar(path: Path, content: object) -> None:
    """PyTorch 0.1's archive, whose "pickle" was unpickled whatever weights_only said."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, part in (("sys_info", {}), ("storages", 0), ("tensors", 0), ("pickle", content)):
            data = pickle.dumps(part, protocol=2)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def write_tar_that_begins_as_torch_files_do(path: Path, content: object) -> None:
    write_tar(path, content)
    data = bytearray(path.read_bytes())
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
    name, checksum = slice(0, 100), slice(148, 156)
    data[name] = magic.ljust(100, b"\0")
    data[checksum] = b" " * 8
    data[checksum] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)
    assert tarfile.is_tarfile(path)


def write_zip_in_zip(path: Path, content: object) -> None:
    inner = io.BytesIO()
    torch.save(content, inner)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", inner.getvalue())
        archive.writestr("archive/inner.pth", inner.getvalue())
        archive.writestr("archive/version", "3")


def write_zip_around_pickle(path: Path, content: object) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, protocol=2))
        archive.writestr("archive/version", "3")


WRITERS = [
    write_zip,
    write_legacy,
    write_pickle,
    write_tar,
    write_tar_that_begins_as_torch_files_do,
    write_zip_in_zip,
    write_zip_around_pickle,
]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors", ".pyth", ""])
def test_no_file_runs_code(tmp_path, bomb, write, suffix):
    payload, marker = bomb
    path = tmp_path / f"weights{suffix}"
    write(path, {"model": {"weight": torch.zeros(2).numpy()}, "payload": payload})
    with pytest.raises(ValueError, match=rf"weights{suffix} cannot be read as a checkpoint") as e:
        read_weight_file(path)
    assert "\n" not in str(e.value)
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        PointCheckpointer(torch.nn.Linear(1, 1)).load(str(path))
    assert not marker.exists()


@pytest.mark.parametrize("write", [write_zip, write_legacy, write_pickle])
def test_what_a_refused_file_asks_for_is_named_and_trust_reads_it(tmp_path, bomb, write):
    payload, marker = bomb
    path = tmp_path / "weights.pth"
    write(path, {"model": {"weight": np.zeros(2)}, "payload": payload})
    with pytest.raises(ValueError, match=r"asks for (posix|nt)\.mkdir, .* --trust"):
        read_weight_file(path)
    assert not marker.exists()
    assert set(read_weight_file(path, trust=True)["model"]) == {"weight"}
    assert marker.exists()


@pytest.mark.parametrize(
    "program",
    [
        # getattr(dict, "__class__"), and functions reached through the names of known modules.
        b"cbuiltins\ngetattr\n(cnumpy\nndarray\nS'__class__'\ntR.",
        b"cnumpy\nndarray.__reduce__\n.",
        b"cnumpy.core\nmultiarray.os.system\n(S'true'\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x16core.multiarray.os.sys\x93.",
        b"\x80\x02\x82\x01.",  # the registry of extensions
        b"Pname\n.",  # a persistent id
    ],
)
def test_pickles_that_go_around_the_known_names_are_refused(tmp_path, program):
    path = tmp_path / "weights.pkl"
    path.write_bytes(b"\x80\x02" + program)
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        read_weight_file(path)


@pytest.mark.parametrize("name", ["numpy\nndarray", "numpy\ndtype", "_codecs\nencode"])
def test_a_pickle_does_not_change_the_classes_that_read_it(tmp_path, name):
    # BUILD with (None, {attribute: value}) sets attributes of an object without __setstate__.
    program = b"\x80\x02c" + name.encode() + b"\nN}X\x05\x00\x00\x00valueK\x01s\x86b."
    path = tmp_path / "weights.pkl"
    path.write_bytes(program)
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        read_weight_file(path)
    write_pickle(path, {"weight": np.arange(3)})
    assert read_weight_file(path)["model"]["weight"].tolist() == [0, 1, 2]


ARRAYS = {
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">i4"),
    "transposed": np.arange(24, dtype=np.int64).reshape(2, 3, 4).transpose(2, 0, 1),
    "empty": np.zeros((0, 4), np.float16),
    "no_dimension": np.array(3, np.uint8),
    "truth": np.array([True, False]),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickled_arrays_are_read_as_they_were(tmp_path, protocol):
    extra = {"steps": [1, 2.5, None, True], "pair": ("a", b"\xff"), "scalar": np.float32(0.5)}
    content = {"model": ARRAYS, "__author__": "somebody", "extra": OrderedDict(extra)}
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps(content, protocol))
    read = read_weight_file(tmp_path / "weights.pkl")
    assert read["__author__"] == "somebody"
    assert read["extra"] == extra
    for name, array in ARRAYS.items():
        assert read["model"][name].dtype == array.dtype, name
        assert read["model"][name].flags.writeable
        np.testing.assert_array_equal(read["model"][name], array)


def test_python_2_pickles_of_caffe2_are_marked_for_matching(tmp_path):
    # As Python 2 writes an array: its bytes are a str.
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x08" + np.array([1.5, -2], "<f4").tobytes() + b"tb"
    )
    blobs = b"}(U\x07conv1_w" + array + b"U\x10conv1_w_momentumK\x00u"
    (tmp_path / "R-50.pkl").write_bytes(b"\x80\x02}U\x05blobs" + blobs + b"s.")
    checkpoint = read_weight_file(tmp_path / "R-50.pkl")
    assert checkpoint["model"]["conv1_w"].tolist() == [1.5, -2]
    assert set(checkpoint["model"]) == {"conv1_w"}
    assert checkpoint["matching_heuristics"] is True
    assert checkpoint["__author__"] == "Caffe2"


@pytest.mark.parametrize("dtype", ["O", "V8", "f4,f4"])
def test_arrays_of_objects_and_records_are_refused(tmp_path, dtype):
    write_pickle(tmp_path / "weights.pkl", {"weight": np.zeros(2, dtype)})
    with pytest.raises(ValueError, match="asks for an array of"):
        read_weight_file(tmp_path / "weights.pkl")


@pytest.mark.parametrize("write", [write_zip, write_legacy])
@pytest.mark.parametrize("key", ["model", "state_dict", None])
def test_tensors_are_found_where_tools_keep_them(tmp_path, write, key):
    tensors = {"weight": torch.ones(2)}
    write(tmp_path / "weights.pth", {key: tensors, "epoch": 3} if key else tensors)
    checkpoint = read_weight_file(tmp_path / "weights.pth")
    assert torch.equal(checkpoint.pop("model")["weight"], torch.ones(2))
    assert checkpoint == ({"epoch": 3} if key else {})


def test_pycls_weights_are_marked_for_matching(tmp_path):
    tensors = {"s1.weight": torch.ones(2), "s1.num_batches_tracked": torch.ones(())}
    torch.save({"model_state": tensors, "epoch": 3}, tmp_path / "RegNetX.pyth")
    checkpoint = read_weight_file(tmp_path / "RegNetX.pyth")
    assert set(checkpoint["model"]) == {"s1.weight"}
    assert checkpoint["matching_heuristics"] is True
    assert checkpoint["__author__"] == "pycls"


def test_state_dicts_keep_their_versions(tmp_path):
    model = torch.nn.BatchNorm2d(2)
    torch.save({"model": model.state_dict()}, tmp_path / "weights.pth")
    assert read_weight_file(tmp_path / "weights.pth")["model"]._metadata[""] == {"version": 2}


@pytest.mark.skipif(torch.__version__ < "2.6", reason="PyTorch can be told of names since 2.6")
def test_numpy_values_beside_tensors_are_read(tmp_path):
    content = {"model": {"w": torch.ones(1)}, "best": np.float64(0.25), "curve": np.arange(3.0)}
    torch.save(content, tmp_path / "weights.pth")
    checkpoint = read_weight_file(tmp_path / "weights.pth")
    assert checkpoint["best"] == 0.25
    assert checkpoint["curve"].tolist() == [0, 1, 2]


@pytest.mark.skipif(torch.__version__ < "2.6", reason="PyTorch can be told of names since 2.6")
def test_the_curves_of_mmdetection_3_are_left_out(tmp_path, monkeypatch):
    """Its HistoryBuffer has methods in its state, which pickle finds by getattr."""
    module = types.ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def __init__(self):
            self.log_history = np.ones(2)
            self.methods = {"mean": HistoryBuffer.mean}

        def mean(self):
            raise AssertionError

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    HistoryBuffer.mean.__module__, HistoryBuffer.mean.__qualname__ = (
        module.__name__,
        "HistoryBuffer.mean",
    )
    module.HistoryBuffer = HistoryBuffer
    for name in ("mmengine", "mmengine.logging", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    hub = {"log_scalars": {"train/loss": HistoryBuffer()}, "runtime_info": {"epoch": 3}}
    torch.save({"state_dict": {"w": torch.ones(1)}, "message_hub": hub}, tmp_path / "epoch_3.pth")
    checkpoint = read_weight_file(tmp_path / "epoch_3.pth")
    assert checkpoint["message_hub"]["log_scalars"] == {"train/loss": None}
    assert checkpoint["message_hub"]["runtime_info"] == {"epoch": 3}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it is empty"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "it is a web page"),
        (b'<?xml version="1.0"?><Error>AccessDenied</Error>', "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "it is a Git LFS pointer"),
        (b"epoch 3", "it is neither"),
        (b"\xff\xd8\xff\xe0 a photograph", "it is neither"),
        (b"PK\x03\x04 and no more", "it is damaged"),
        (b"\x80\x04\x95", "it is damaged"),
        (b"\x10" + b"\0" * 7 + b'{"no": "header" .......', "it is damaged"),
    ],
)
def test_what_is_no_weight_file_gets_one_sentence_with_its_name(tmp_path, content, sentence):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(ValueError, match=rf"weights\.pth cannot be read.*: {sentence}") as error:
        read_weight_file(tmp_path / "weights.pth")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("write", [write_zip, write_legacy, write_pickle])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_gets_one_sentence_with_its_name(tmp_path, write, share):
    path = tmp_path / "weights.pth"
    write(path, {"model": {"weight": np.zeros(500)} if write is write_pickle else whole_model()})
    read_weight_file(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ValueError, match=r"weights\.pth cannot be read.*: it is damaged") as error:
        read_weight_file(path)
    assert "\n" not in str(error.value)


def whole_model() -> dict[str, torch.Tensor]:
    return torch.nn.Linear(30, 40).state_dict()


@pytest.mark.parametrize(
    "content", [[1, 2], {}, {"model": 3}, {"model": {}}, {"epoch": 3}, {"model": {"w": "text"}}]
)
@pytest.mark.parametrize("write", [write_zip, write_pickle])
def test_a_file_without_tensors_is_no_checkpoint(tmp_path, write, content):
    write(tmp_path / "weights.pth", content)
    with pytest.raises(ValueError, match=r"weights\.pth is no checkpoint"):
        read_weight_file(tmp_path / "weights.pth")


def test_safetensors_are_read_with_their_metadata(tmp_path):
    torch_safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "weights.safetensors"
    torch_safetensors.save_file(
        {"weight": torch.ones(2)}, path, {"format": "pt", "autoassign": '{"version": 1}'}
    )
    checkpoint = read_weight_file(path)
    assert torch.equal(checkpoint["model"]["weight"], torch.ones(2))
    assert checkpoint["autoassign"] == {"version": 1}


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth does not exist"):
        read_weight_file("nowhere.pth")


def test_an_address_that_cannot_be_fetched_is_named(monkeypatch):
    def fail(path):
        raise OSError("no route to host")

    monkeypatch.setattr("autoassign.checkpoint.addresses.PathManager.get_local_path", fail)
    with pytest.raises(OSError, match=r"fetched: no route.*download https://dl\.fbai.*/x\.pkl"):
        read_weight_file("detectron2://x.pkl")


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost:1/../../outside.pth",
        "https://localhost:1/a/%2e%2e/outside.pth",
        "detectron2://../outside.pkl",
        "http://localhost:1/weights/..",
    ],
)
def test_an_address_cannot_leave_the_cache(address):
    with pytest.raises(ValueError, match=r"must not have a part '\.\.'"):
        read_weight_file(address)


@pytest.fixture
def two_hosts(monkeypatch, tmp_path) -> Iterator[list[str]]:
    """Two servers that have different weights at the same path, and an empty cache."""
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    with contextlib.ExitStack() as running:
        addresses = []
        for value in (1.0, 2.0):
            folder = tmp_path / str(value)
            folder.mkdir()
            torch.save({"weight": torch.full((2,), value)}, folder / "x.pth")
            handler = partial(http.server.SimpleHTTPRequestHandler, directory=folder)
            server = running.enter_context(http.server.HTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            running.callback(server.shutdown)
            addresses.append(f"http://127.0.0.1:{server.server_port}/x.pth")
        yield addresses


def test_downloads_of_two_hosts_are_told_apart(two_hosts):
    for _ in range(2):
        values = [read_weight_file(address)["model"]["weight"][0] for address in two_hosts]
        assert values == [1.0, 2.0]


def test_a_folder_is_no_weight_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder: name a weight file in it"):
        read_weight_file(tmp_path)


def test_the_checkpointer_reads_detectron2_pickles(tmp_path):
    model = torch.nn.Linear(3, 2)
    arrays = {name: np.full(tensor.shape, 7.0, "f4") for name, tensor in model.state_dict().items()}
    write_pickle(tmp_path / "model_final.pkl", {"model": arrays, "__author__": "the zoo"})
    PointCheckpointer(model).load(str(tmp_path / "model_final.pkl"))
    assert all((parameter == 7).all() for parameter in model.parameters())


def test_shared_lists_of_a_pickle_are_read_once(tmp_path):
    array = np.ones(2)
    shared: list = [array, (array, array)]
    for _ in range(40):
        shared = [shared, (shared, shared)]
    write_pickle(tmp_path / "weights.pkl", {"model": {"w": array}, "shared": shared})
    first, (second, third) = read_weight_file(tmp_path / "weights.pkl")["shared"]
    assert first is second is third
    while isinstance(first[0], list):
        first = first[0]
    assert isinstance(first[0], np.ndarray)
    assert isinstance(first[1][1], np.ndarray)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(tmp_path, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    path = tmp_path / f"weights{suffix}"
    path.write_text("old")
    with file_size_limit(10_000), pytest.raises(OSError, match=rf"{path} cannot be written: ") as e:
        write_weight_file(path, {"model": {"weight": torch.zeros(100_000)}})
    assert "\n" not in str(e.value)
    assert [(x, x.read_text()) for x in tmp_path.iterdir()] == [(path, "old")]
