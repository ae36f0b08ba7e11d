"""The reference vectors, and the command that compares them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import golden
import numpy as np
import pytest
import torch

DATA = Path(__file__).parent / "golden_vectors"
VECTORS = sorted(DATA.glob("*.npz"))
# What the files of each strategy must at least be compared in.
TENSORS = {
    "autoassign": {"loss_pos", "loss_neg", "loss_center", "grad_mu", "grad_ltrb_0", "w_pos_0"},
    "dsla": {"loss_cls", "loss_box", "grad_cls_logits_0", "grad_ltrb_0", "target_scores_0"}
    | {"target_ltrb_1"},
    "fcos": {"labels_0", "target_ltrb_0", "target_centerness_4"},
    "atss": {"assigned_0", "assigned_2"},
    "simota": {"assigned_0", "assigned_1", "matched_iou_1"},
    "tal": {"assigned_0", "assigned_1", "metric_1"},
    "freeanchor": {"loss_positive", "loss_negative", "grad_cls_logits_4", "grad_ltrb_0"},
    "fsaf": {"loss_cls", "loss_box", "grad_cls_logits_4", "grad_ltrb_0"},
    "sapd": {"loss_cls", "loss_box", "loss_selection", "grad_ltrb_0", "grad_features_3"}
    | {"grad_selection.convs.0.weight"},
    "guidedanchoring": {"loss_cls", "loss_box", "loss_location", "loss_shape", "grad_ltrb_0"}
    | {"grad_anchor_location_0", "grad_anchor_shape_3"},
    "maxiou": {"assigned_0", "assigned_1"},
}


def run_command(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, golden.__file__, str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_reference_vectors(path, device):
    rows = list(golden.compare(path, torch.device(device)))
    names = {row.tensor for row in rows}
    assert TENSORS[path.stem.split("_")[0]] <= names
    assert {row.dtype for row in rows} == set(golden.TOLERANCES)
    assert [row for row in rows if not row.passed] == []


@pytest.mark.parametrize(
    ("device", "dtype"),
    [
        ("cpu", torch.bfloat16),
        pytest.param("cuda", torch.bfloat16, marks=pytest.mark.cuda),
        pytest.param("cuda", torch.float16, marks=pytest.mark.cuda),
    ],
)
# SAPD has layers of its own, which the detector keeps from autocast as it does all losses.
@pytest.mark.parametrize(
    "path", [x for x in VECTORS if not x.stem.startswith("sapd")], ids=lambda path: path.stem
)
def test_reference_vectors_under_autocast(path, device, dtype):
    with torch.autocast(device, dtype):
        rows = list(golden.compare(path, torch.device(device)))
    assert [row for row in rows if not row.passed] == []


def test_command_passes_on_the_reference_vectors():
    result = run_command(DATA)
    assert result.returncode == 0, result.stderr
    assert "FAILED" not in result.stdout
    for path in VECTORS:
        assert path.name in result.stdout


def tampered_copy(tensor: str, directory: Path) -> Path:
    path = DATA / "autoassign_distinct_classes.npz"
    with np.load(path) as file:
        vectors = dict(file)
    vectors[tensor] = vectors[tensor] * 1.001
    np.savez(directory / path.name, **vectors)
    return directory / path.name


@pytest.mark.parametrize("tensor", ["loss_pos", "grad_cls_logits_1", "grad_sigma", "w_pos_0"])
def test_wrong_tensor_is_found(tmp_path, tensor):
    rows = golden.compare(tampered_copy(tensor, tmp_path), torch.device("cpu"))
    failed = [(row.tensor, row.dtype) for row in rows if not row.passed]
    assert failed == [(tensor, dtype) for dtype in golden.TOLERANCES]


def test_command_fails_on_a_wrong_tensor(tmp_path):
    tampered_copy("loss_neg", tmp_path)
    result = run_command(tmp_path)
    assert result.returncode == 1
    failed = [line for line in result.stdout.splitlines() if line.endswith("FAILED")]
    assert [line.split()[1:3] for line in failed] == [
        ["float64", "loss_neg"],
        ["float32", "loss_neg"],
    ]


def test_command_fails_on_a_folder_without_vectors(tmp_path):
    result = run_command(tmp_path)
    assert result.returncode == 1
    assert str(tmp_path) in result.stdout
