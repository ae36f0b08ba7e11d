"""Parameters and FLOPs of detectors, against counts made by hand."""

import pytest
from detectron2.modeling import Backbone
from narrow_model import narrow_model
from torch import Tensor, nn

from autoassign.analysis.benchmark import count_model
from autoassign.modeling.layers import DeformConv


class Pyramid(Backbone):
    """A bottom-up convolution of stride 8, then a deformable one in two groups."""

    size_divisibility = 32

    def __init__(self) -> None:
        super().__init__()
        self.bottom_up = nn.Conv2d(3, 4, 8, 8, bias=False)
        self.deform = DeformConv(4, 6, 3, padding=1, groups=2, bias=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = self.bottom_up(images)
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
        self.backbone = Pyramid()
        self.head = Head()
        self.head_in_features = ["p3"]


# The second image is padded to the size of the first.
@pytest.mark.parametrize("image_size", [(800, 1344), (769, 1333)])
def test_three_convolutions_by_hand(image_size):
    weights = (3 * 4 * 64, 2 * 6 * 9, 6 * 5)
    rows = count_model(Detector(), image_size)
    assert [row.part for row in rows] == ["bottom-up", "FPN", "head", "all"]
    assert [row.parameters for row in rows] == [*weights, sum(weights)]
    locations = 100 * 168  # of stride 8
    flops = [locations * x for x in (*weights, sum(weights))]
    assert [row.gflops * 1e9 for row in rows] == pytest.approx(flops)


def test_the_parts_of_a_detector_add_up():
    model = narrow_model()
    *parts, total = count_model(model, (128, 128))
    assert total.parameters == sum(p.numel() for p in model.parameters())
    # The strategy's own parameters belong to no part.
    own = sum(p.numel() for p in model.label_assignment.parameters())
    assert sum(row.parameters for row in parts) + own == total.parameters
    assert sum(row.gflops for row in parts) == pytest.approx(total.gflops)
    # The last convolutions of the head, over 16² + 8² + 4² + 2² locations of 32 channels.
    predictors = 340 * 32 * 9 * (5 + 4 + 1)
    assert parts[-1].gflops * 1e9 > predictors
