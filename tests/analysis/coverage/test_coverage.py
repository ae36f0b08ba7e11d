"""What strategies would teach before training, against counts made by hand."""

import numpy as np
import pytest
import torch
from narrow_model import narrow_cfg

from autoassign.analysis.coverage import (
    Coverage,
    TrainingObjects,
    build_detectors,
    coverage_as_dict,
    draw_coverage,
    format_coverage,
    measure_coverage,
)
from autoassign.data import TableBuilder
from autoassign.modeling import Explanation, GroundTruth, Pairs, make_grid
from autoassign.modeling.assignment import ATSS


def objects_of(*boxes: list[float]) -> TrainingObjects:
    return TrainingObjects((128, 128), torch.tensor(boxes).float(), torch.zeros(len(boxes)).long())


def measure(images: list[TrainingObjects], *strategies: str) -> dict[str, Coverage]:
    result = measure_coverage(build_detectors(narrow_cfg(), strategies), images)
    return {x.strategy: x for x in result}


def test_fcos_by_hand():
    # Locations at 4, 12, 20, ...: none in the first box, 2 × 3 in the second, and in the third,
    # of 40 × 40 px around (60, 60), the 3 × 3 nearer than 12 px to its center.
    images = [objects_of([5, 5, 10, 10], [10, 10, 25, 29]), objects_of([40, 40, 80, 80])]
    fcos = measure(images, "FCOS")["FCOS"]
    assert fcos.objects.tolist() == [1, 1, 1, 0, 0]
    assert fcos.without.tolist() == [1, 0, 0, 0, 0]
    assert fcos.locations.tolist() == [0, 6, 9, 0, 0]
    assert fcos.level_shares[:, 0].tolist() == [0, 1, 1, 0, 0]


def test_no_strategy_gets_the_head_options_that_a_config_has_for_another():
    cfg = narrow_cfg("MODEL.LABEL_ASSIGNMENT.NAME", "FCOS", "MODEL.POINT_HEAD.LOCATION_OFFSET", 0.5)
    detectors = build_detectors(cfg, ["FCOS", "ATSS"])
    assert {name: x.location_offset for name, x in detectors.items()} == {"FCOS": 0.5, "ATSS": 0}
    fixed = ["MODEL.POINT_HEAD.LOCATION_OFFSET", "MODEL.LABEL_ASSIGNMENT.NAME"]
    [atss] = build_detectors(cfg, ["ATSS"], fixed).values()
    assert (atss.location_offset, type(atss.label_assignment)) == (0.5, ATSS)


def test_a_large_object_of_fcos_is_learned_on_a_coarser_level():
    # 100 × 100 px: distances of 64 to 128 px belong to the level of stride 16, except at the
    # locations of stride 8 nearer than 64 px to all sides, 12 px or less from the center.
    fcos = measure([objects_of([14, 14, 114, 114])], "FCOS")["FCOS"]
    centers = np.arange(4, 128, 8)
    fine = sum(max(x - 14, 114 - x) <= 64 and abs(x - 64) < 12 for x in centers) ** 2
    assert fcos.objects.tolist() == [0, 0, 0, 1, 0]
    assert fcos.level_shares[3, 0] == fine / fcos.locations[3]
    assert fcos.level_shares[3].sum() == 1


def test_the_effective_number_of_weighted_locations():
    grid = make_grid((8, 16), ((2, 2), (1, 1)), torch.device("cpu"))
    gt = GroundTruth(torch.tensor([[0.0, 0, 20, 20], [0, 0, 20, 20]]), torch.zeros(2).long(), (2,))
    pairs = Pairs.from_indices(
        torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 4, 2]), gt.image_index, grid
    )
    weights = torch.tensor([0.25, 0.25, 0.5, 0.0])
    coverage = Coverage("any", grid.strides)
    coverage.add(Explanation(pairs=pairs, maps={"w": weights}, primary="w"), grid, gt)
    assert coverage.objects.tolist() == [0, 2, 0, 0, 0]
    assert coverage.without.tolist() == [0, 1, 0, 0, 0]
    assert coverage.locations[1] == 1 / (0.25**2 + 0.25**2 + 0.5**2)
    assert coverage.level_shares[1].tolist() == [0.5, 0.5]


def test_strategies_that_need_predictions_get_those_of_the_untrained_head():
    # Boxes start with distances of BOX_BIAS 2 strides: of 32 px at stride 8, of 64 px at 16.
    images = [objects_of([32, 32, 64, 64], [32, 64, 96, 128])]
    tal = measure(images, "TAL")["TAL"]
    assert tal.without.sum() == 0
    assert tal.level_shares[2, :2] == pytest.approx([1, 1], abs=0.01)


def test_objects_are_measured_at_the_scale_of_training():
    builder = TableBuilder()
    for number in range(3):
        builder.add_image(f"{number}.png", number, height=100, width=200)
    builder.add_object(1, 2, (10, 10, 30, 20))
    builder.add_object(1, 0, (0, 0, 50, 50), is_crowd=True)
    builder.add_object(2, 1, (0, 0, 8, 8))
    cfg = narrow_cfg("INPUT.MIN_SIZE_TRAIN", (120, 150, 400), "INPUT.MAX_SIZE_TRAIN", 1000)
    first, second = TrainingObjects.from_table(builder.build(), cfg, max_images=10)
    assert first.image_size == (150, 300)
    assert first.boxes.tolist() == [[15, 15, 45, 30]]
    assert first.classes.tolist() == [2]
    assert second.boxes.tolist() == [[0, 0, 12, 12]]
    assert len(list(TrainingObjects.from_table(builder.build(), cfg, max_images=1))) == 1


def test_tables_and_figure_of_sizes_without_objects(tmp_path):
    coverages = list(measure([objects_of([5, 5, 10, 10])], "FCOS", "AutoAssign").values())
    text = format_coverage(coverages)
    assert "1 (100.0%)" in text
    assert "nan" not in text
    content = coverage_as_dict(coverages)
    assert content["strategies"]["FCOS"]["mean_locations"] == [None] * 5
    assert content["strategies"]["AutoAssign"]["mean_locations"] == [1.0, *[None] * 4]
    draw_coverage(coverages, "a $ sign", tmp_path / "coverage.png")
    assert (tmp_path / "coverage.png").stat().st_size > 10_000
