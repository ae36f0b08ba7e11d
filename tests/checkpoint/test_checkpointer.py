from pathlib import Path

import pytest
import torch
from narrow_model import narrow_model
from torch import nn

from autoassign.checkpoint import PointCheckpointer, Strictness


def small_model(num_outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, num_outputs))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of another number of outputs, filled with sevens."""
    model = small_model(5)
    for parameter in model.parameters():
        nn.init.constant_(parameter, 7.0)
    torch.save({"model": model.state_dict()}, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_weights_of_other_shapes_are_an_error_that_names_the_tensors_and_shapes(weights):
    with pytest.raises(ValueError, match="do not fit") as error:
        PointCheckpointer(small_model(2)).load(str(weights))
    message = str(error.value)
    assert "1.weight (5, 4) in the file and (2, 4) in the model" in message
    assert "1.bias (5,) in the file and (2,) in the model" in message
    assert "0.weight" not in message
    assert "MODEL.WEIGHTS_SKIP_MISMATCHED True" in message


def test_fine_tuning_on_other_classes_loads_the_rest_and_leaves_these_at_their_start(weights):
    model = small_model(2)
    before = model[1].weight.detach().clone()
    PointCheckpointer(model, strictness=Strictness.FINE_TUNING_OTHER_CLASSES).load(str(weights))
    assert (model[0].weight == 7).all()
    assert (model[0].bias == 7).all()
    assert torch.equal(model[1].weight, before)


def test_a_detector_is_fine_tuned_on_another_number_of_classes(tmp_path):
    PointCheckpointer(narrow_model(), str(tmp_path)).save("five_classes")
    path = str(tmp_path / "five_classes.pth")
    two_classes = narrow_model("MODEL.POINT_HEAD.NUM_CLASSES", 2, seed=1)

    with pytest.raises(ValueError, match=r"head\.cls_score\.weight \(5, 32, 3, 3\)") as error:
        PointCheckpointer(two_classes).load(path)
    assert "label_assignment.mu (5, 2) in the file and (2, 2) in the model" in str(error.value)

    PointCheckpointer(two_classes, strictness=Strictness.FINE_TUNING_OTHER_CLASSES).load(path)
    assert torch.equal(two_classes.head.box_pred.weight, narrow_model().head.box_pred.weight)


def test_what_is_saved_is_loaded_again(tmp_path):
    checkpointer = PointCheckpointer(narrow_model(), str(tmp_path))
    checkpointer.save("model_0000009", iteration=9)
    other = narrow_model(seed=1)
    rest = PointCheckpointer(other, str(tmp_path)).resume_or_load("", resume=True)
    assert rest["iteration"] == 9
    for ours, theirs in zip(other.parameters(), narrow_model().parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_best_model_is_not_where_training_resumes_from(tmp_path):
    checkpointer = PointCheckpointer(small_model(2), str(tmp_path))
    checkpointer.save("model_0000009")
    checkpointer.save("model_best")
    assert (tmp_path / "model_best.pth").exists()
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000009.pth"


def test_weights_of_another_kind_of_model_are_an_error(tmp_path):
    torch.save({"model": {"encoder.weight": torch.zeros(3)}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"no tensor of this config's model.*encoder\.weight"):
        PointCheckpointer(small_model(2)).load(str(tmp_path / "other.pth"))


def test_weights_of_another_tool_are_called_so():
    model = narrow_model()
    theirs = {
        name.replace("head.", "proposal_generator.fcos_head.").replace("cls_score", "cls_logits"): x
        for name, x in model.state_dict().items()
    }
    checkpointer = PointCheckpointer(model, strictness=Strictness.PREDICTION)
    with pytest.raises(ValueError, match="are those of AdelaiDet's FCOS; `autoassign convert`"):
        checkpointer.load_model({"model": theirs})
