import pytest
import torch
from narrow_model import narrow_model
from torch import nn

from autoassign import get_config_file
from autoassign.analysis.benchmark import ModelRow
from autoassign.analysis.zoo_page import RECIPES, model_zoo_page, page, training_memory
from autoassign.analysis.zoo_page.memory import _LiveMemory


def test_memory_grows_with_the_batch_and_the_states_of_the_optimizer():
    detector = narrow_model()
    one, two, four = (training_memory(detector, images, 0) for images in (1, 2, 4))
    # Weights and their gradients do not grow, the rest does with the images.
    assert four - two == pytest.approx(2 * (two - one), rel=0.01)
    trained = sum(4 * p.numel() for p in detector.parameters())
    assert training_memory(detector, 1, 2) - one == 2 * trained


def test_frozen_layers_keep_nothing():
    whole = training_memory(narrow_model("MODEL.RESNETS.NORM", "FrozenBN"), 1, 0)
    options = ("MODEL.RESNETS.NORM", "FrozenBN", "MODEL.BACKBONE.FREEZE_AT", 5)
    assert training_memory(narrow_model(*options), 1, 0) < 0.7 * whole


def test_checkpointing_is_seen():
    options = ("MODEL.RESNETS.NORM", "GN", "MODEL.RESNETS.STEM_OUT_CHANNELS", 32)
    plain = training_memory(narrow_model(*options), 1, 0)
    option = ("MODEL.BACKBONE.CHECKPOINT_ACTIVATIONS", True)
    assert training_memory(narrow_model(*options, *option), 1, 0) < plain


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda x: x.config)
def test_a_recipe_states_what_its_file_states(recipe):
    with open(get_config_file(f"COCO-Detection/{recipe.config}.yaml"), encoding="utf-8") as file:
        text = file.read()
    comment = " ".join(line.removeprefix("# ") for line in text.splitlines() if line[:1] == "#")
    assert f"{recipe.ap} AP on COCO {recipe.split}" in comment


def test_the_page_has_a_row_of_results_and_of_memory_for_each_recipe(monkeypatch):
    monkeypatch.setattr(page, "build_model", lambda cfg: nn.Linear(1, 1))
    monkeypatch.setattr(page, "count_model", lambda _: [ModelRow("all", 32_244_570, 210.0)])
    monkeypatch.setattr(
        page, "training_memory", lambda model, images, states: images * (1 + states) * 2**29
    )
    rows = [line.split("|") for line in model_zoo_page().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row[1:-1]] for row in rows]
    name = "[dsla_Swin_S_FPN_3x](../configs/COCO-Detection/dsla_Swin_S_FPN_3x.yaml)"
    result, memory = (row for row in cells if row[0] == name)
    assert result[1:] == [
        "49.2 (val)",
        "arXiv 2208.00817, training log",
        "263.9k",
        "640–800",
        "32.2",
        "210",
    ]
    # AdamW keeps two tensors for each parameter.
    assert memory[1:] == ["3.00", "3.00", "4", "6.00", "19.0"]
    assert len(cells) == 2 * (len(RECIPES) + 2)


def test_live_memory_forgets_what_is_freed():
    with _LiveMemory() as memory:
        for _ in range(3):
            x = torch.zeros(1000)
            del x
        y = torch.zeros(500)
    assert memory.peak == 4000
    assert len(y) == 500
