import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision

from autoassign.cli import doctor, main
from autoassign.cli.doctor import Finding, diagnose

PROJECTS = Path(__file__).parents[2] / "projects"


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Finding]]:
    """Diagnoses with fakes in place of modules; an exception is raised by the import."""

    def diagnose_with(**fakes: Any) -> dict[str, Finding]:
        def import_module(name: str) -> Any:
            fake = fakes.get(name)
            if isinstance(fake, Exception):
                raise fake
            return fake or importlib.import_module(name)

        monkeypatch.setattr(doctor, "import_module", import_module)
        return {finding.name: finding for finding in diagnose()}

    return diagnose_with


def remedies(found: dict[str, Finding]) -> set[str]:
    return {name for name, finding in found.items() if finding.remedy}


def test_environment_of_the_tests_is_sound(findings):
    found = findings()
    assert remedies(found) == set()
    assert found["torch"].detail == torch.__version__
    assert found["operators"].detail == "nms and deformable convolution work"
    assert found["COCO evaluation"].detail == "works"


def test_missing_package_names_its_installation(findings):
    found = findings(fvcore=ModuleNotFoundError("No module named 'fvcore'"))
    assert remedies(found) == {"fvcore"}
    assert found["fvcore"].remedy == "pip install fvcore"
    assert "No module named 'fvcore'" in found["fvcore"].detail


def test_missing_torch_is_reported_and_the_rest_still_looked_at(findings):
    found = findings(torch=ModuleNotFoundError("No module named 'torch'"))
    assert remedies(found) == {"torch", "operators"}
    assert found["COCO evaluation"].detail == "works"
    assert found["CUDA"].detail == "not known without torch"


@pytest.mark.parametrize(
    ("module", "error", "remedy"),
    [
        ("detectron2.model_zoo", "No module named 'pkg_resources'", "setuptools<81"),
        ("torchvision", "libtorch.so: undefined symbol: _ZN", "made for each other"),
        ("pycocotools.mask", "numpy.dtype size changed, may indicate binary", "numpy<2"),
        ("cv2", "libGL.so.1: cannot open shared object file", "opencv-python-headless"),
        ("cv2", "partially initialized module 'cv2' has no attribute", "overwrite each other"),
        ("detectron2.model_zoo", "module 'PIL.Image' has no attribute 'LINEAR'", "pillow<10"),
    ],
)
def test_known_faults_have_their_own_remedy(findings, module, error, remedy):
    name = {"cv2": "opencv"}.get(module, module.partition(".")[0])
    assert remedy in findings(**{module: ImportError(error)})[name].remedy


def test_torchvision_whose_operators_do_not_load(findings):
    def unloaded(*_: Any) -> None:
        raise RuntimeError("operator torchvision::nms does not exist\nand more lines")

    ops = SimpleNamespace(nms=unloaded, deform_conv2d=torchvision.ops.deform_conv2d)
    fake = SimpleNamespace(__name__="torchvision", ops=ops)
    found = findings(torchvision=fake)
    assert remedies(found) == {"operators"}
    assert found["operators"].detail == "RuntimeError: operator torchvision::nms does not exist"


def test_wrong_result_of_an_operator_is_a_fault(findings):
    ops = SimpleNamespace(
        nms=lambda boxes, scores, threshold: torch.tensor([0, 1, 2]),
        deform_conv2d=torchvision.ops.deform_conv2d,
    )
    found = findings(torchvision=SimpleNamespace(__name__="torchvision", ops=ops))
    assert (
        found["operators"].detail
        == "ArithmeticError: nms gives [0, 1, 2], deform_conv2d 9.0; not [0, 2] and 9.0"
    )


def fake_torch(version: str | None, **cuda: Any) -> SimpleNamespace:
    """A torch that computes on the CPU and claims the CUDA state of ``cuda``."""
    distributed = SimpleNamespace(is_available=lambda: True, is_nccl_available=lambda: True)
    return SimpleNamespace(
        __name__="torch",
        tensor=lambda values, device: torch.tensor(values),
        ones=lambda *size, device: torch.ones(*size),
        zeros=lambda *size, device: torch.zeros(*size),
        version=SimpleNamespace(cuda=version),
        cuda=SimpleNamespace(**cuda),
        distributed=distributed,
    )


@pytest.mark.parametrize(
    ("version", "reason"),
    [("13.0", "no device found"), (None, "this torch is built without CUDA")],
)
def test_without_cuda_it_is_cpu_only_and_no_fault(findings, version: str | None, reason: str):
    found = findings(torch=fake_torch(version, is_available=lambda: False))
    assert found["CUDA"] == Finding("CUDA", f"CPU only: {reason}")


def test_each_cuda_device_is_tried(findings):
    properties = SimpleNamespace(name="H200", major=9, minor=0, total_memory=139 * 2**30)
    fake = fake_torch(
        "13.0",
        is_available=lambda: True,
        device_count=lambda: 2,
        get_device_properties=lambda device: properties,
        nccl=SimpleNamespace(version=lambda: (2, 30, 7)),
    )
    found = findings(torch=fake)
    assert found["CUDA"].detail == "13.0, 2 device(s)"
    assert found["cuda:1"].detail == "H200, capability 9.0, 139 GiB, works"
    assert found["NCCL"].detail == "2.30.7"


def test_the_report_counts_faults_and_prints_remedies(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def diagnose() -> Iterator[Finding]:
        yield Finding("numpy", "2.2.6")
        yield Finding("nms", "RuntimeError: none", "reinstall it")

    monkeypatch.setattr(doctor, "diagnose", diagnose)
    assert main(["doctor"]) == 1
    *lines, empty, summary = capsys.readouterr().out.splitlines()
    assert (empty, summary) == ("", "1 of these must be fixed")
    assert [line.split() for line in lines] == [
        ["numpy", "2.2.6"],
        ["nms", "FAILS:", "RuntimeError:", "none"],
        ["->", "reinstall", "it"],
    ]


def run_command(*options: str, folders: tuple[Path, ...] = ()) -> str:
    """The report of the command, which must find a fault, with ``folders`` first on the path."""
    path = os.pathsep.join(str(folder) for folder in (*folders, PROJECTS))
    command = [sys.executable, *options, "-W", "ignore", "-m", "autoassign", "doctor"]
    env = {**os.environ, "PYTHONPATH": path}
    result = subprocess.run(command, env=env, capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    return result.stdout


def test_command_runs_where_nothing_is_installed():
    # -S leaves the site-packages out, and so everything that is not the standard library.
    assert "ModuleNotFoundError: No module named 'torch'" in run_command("-S")


@pytest.mark.parametrize("error", ["RuntimeError", "OSError"])
def test_command_runs_where_torchvision_does_not_fit_torch(tmp_path: Path, error: str):
    (tmp_path / "torchvision.py").write_text(f"raise {error}('nms does not exist')\n")
    report = run_command(folders=(tmp_path,))
    assert f"FAILS: {error}: nms does not exist" in report
