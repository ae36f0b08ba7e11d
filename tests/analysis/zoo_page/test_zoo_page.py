import pytest
import torch
from narrow_model import narrow_model
from torch import Tensor, nn

from autoassign import get_config_file
from autoassign.analysis.zoo_page import RECIPES, Costs, detector_costs, model_zoo_page, page
from autoassign.analysis.zoo_page.costs import _LiveMemory, training_memory
from autoassign.modeling.layers import DeformConv

# Locations at stride 8 of 800 × 1344 pixels.
LOCATIONS = 100 * 168


class Backbone(nn.Module):
    """A convolution of stride 8, then a deformable one in two groups."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 8, 8, bias=False)
        self.deform = DeformConv(4, 6, 3, padding=1, groups=2, bias=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = self.conv(images)
        return {"p3": self.deform(x, x.new_zeros(len(x), 18, *x.shape[2:]))}


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 5, 1, bias=False)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [self.conv(x) for x in features]


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.head = Head()
        self.head_in_features = ["p3"]


def test_costs_of_three_convolutions():
    detector = Detector()
    detector.backbone.conv.requires_grad_(False)
    costs = detector_costs(detector)
    weights = (3 * 4 * 64, 2 * 6 * 9, 6 * 5)
    assert costs.parameters == sum(weights)
    assert costs.trained_parameters == sum(weights[1:])
    assert costs.flops == LOCATIONS * sum(weights)


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
    monkeypatch.setattr(page, "detector_costs", lambda model: Costs(32_244_570, 1, 210 * 10**9))
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
