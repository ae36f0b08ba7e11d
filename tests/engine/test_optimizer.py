import pytest
import torch
from detectron2.solver import build_optimizer as detectron2_build_optimizer
from narrow_model import image_input, narrow_cfg, narrow_model, total
from torch import Tensor, nn

from autoassign.engine.optimizer import build_optimizer


def parameters_of(model: nn.Module, *module_types: type) -> set[Tensor]:
    modules = [module for module in model.modules() if isinstance(module, module_types)]
    return {parameter for module in modules for parameter in module.parameters(recurse=False)}


def clipped_steps(clip_value: float, norm_type: float, gradient: float) -> Tensor:
    """Change of the parameters of two layers by one SGD step of rate 1."""
    options = ("SOLVER.OPTIMIZER", "SGD", "SOLVER.BASE_LR", 1.0, "SOLVER.WEIGHT_DECAY", 0.0)
    cfg = narrow_cfg(*options, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", clip_value)
    cfg.SOLVER.CLIP_GRADIENTS.NORM_TYPE = norm_type
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = build_optimizer(cfg, model)
    before = nn.utils.parameters_to_vector(model.parameters()).detach()
    for i, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, gradient * (i + 1))
    optimizer.step()
    return nn.utils.parameters_to_vector(model.parameters()).detach() - before


def test_sgd_is_detectron2s():
    options = ("SOLVER.OPTIMIZER", "SGD", "SOLVER.CLIP_GRADIENTS.ENABLED", False)
    cfg, model = narrow_cfg(*options), narrow_model()
    ours, theirs = build_optimizer(cfg, model), detectron2_build_optimizer(cfg, model)
    assert type(ours) is type(theirs) is torch.optim.SGD
    for group in theirs.param_groups:
        group["foreach"] = None  # torch's choice; detectron2's is the slowest on a CPU
    assert ours.state_dict() == theirs.state_dict()


def test_adamw_takes_its_rate_betas_and_decay_from_the_config():
    options = ("SOLVER.BASE_LR", 0.002, "SOLVER.ADAMW_BETAS", (0.8, 0.95))
    cfg, model = narrow_cfg(*options, "SOLVER.WEIGHT_DECAY", 0.07), narrow_model()
    optimizer = build_optimizer(cfg, model)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert {group["lr"] for group in optimizer.param_groups} == {0.002}
    assert {group["betas"] for group in optimizer.param_groups} == {(0.8, 0.95)}
    decays = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert set(decays) == set(model.parameters())
    norms = parameters_of(model, nn.BatchNorm2d, nn.GroupNorm)
    assert norms
    prior_and_scales = {model.label_assignment.mu, model.label_assignment.sigma, model.head.scales}
    assert {decays[p] for p in norms | prior_and_scales} == {0.0}
    assert {decays[p] for p in set(decays) - norms - prior_and_scales} == {0.07}


def test_biases_may_have_a_rate_and_decay_of_their_own():
    options = ("SOLVER.BIAS_LR_FACTOR", 2.0, "SOLVER.WEIGHT_DECAY_BIAS", 0.0)
    model = narrow_model()
    optimizer = build_optimizer(narrow_cfg(*options, "SOLVER.BASE_LR", 0.002), model)
    groups = {p: group for group in optimizer.param_groups for p in group["params"]}
    bias, weight = groups[model.head.cls_score.bias], groups[model.head.cls_score.weight]
    assert (bias["lr"], bias["weight_decay"]) == (0.004, 0.0)
    assert (weight["lr"], weight["weight_decay"]) == (0.002, 0.05)


class Layers(nn.Module):
    """A convolution, a norm, and a deformable block's prediction of shifts."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.norm = nn.GroupNorm(1, 2)
        self.conv2_offset = nn.Conv2d(2, 18, 3)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(169, 3))


def groups_of(model: nn.Module, *options: object) -> dict[str, tuple[float, float]]:
    """Rate and decay of every parameter, by name."""
    optimizer = build_optimizer(narrow_cfg("SOLVER.CLIP_GRADIENTS.ENABLED", False, *options), model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize(
    ("rule", "others"), [("detectron2", (0.02, 0.0)), ("mmdetection", (0.01, 1e-4))]
)
def test_the_rule_tells_whether_all_biases_learn_faster(rule, others):
    found = groups_of(
        Layers(),
        *("SOLVER.OPTIMIZER", "SGD", "SOLVER.BASE_LR", 0.01, "SOLVER.WEIGHT_DECAY", 1e-4),
        *("SOLVER.WEIGHT_DECAY_NORM", 1e-4, "SOLVER.BIAS_LR_FACTOR", 2.0),
        *("SOLVER.WEIGHT_DECAY_BIAS", 0.0, "SOLVER.BIAS_RULE", rule),
    )
    plain = (0.01, 1e-4)
    assert found == {
        "conv.weight": plain,
        "conv.bias": (0.02, 0.0),
        "norm.weight": plain,
        "norm.bias": others,
        "conv2_offset.weight": plain,
        "conv2_offset.bias": others,
        "relative_position_bias_table": plain,
    }


def test_adamw_decays_neither_norms_nor_tables_of_positions():
    found = groups_of(Layers(), "SOLVER.WEIGHT_DECAY", 0.05, "SOLVER.BASE_LR", 1e-4)
    not_decayed = {name for name, (_, decay) in found.items() if decay == 0}
    assert not_decayed == {"norm.weight", "norm.bias", "relative_position_bias_table"}


@pytest.mark.parametrize("norm_type", [2.0, 1.0])
def test_full_model_clipping_bounds_one_norm_over_all_parameters(norm_type):
    step = clipped_steps(0.5, norm_type, gradient=10.0)
    assert step.norm(norm_type).item() == pytest.approx(0.5, rel=1e-4)
    # The direction is kept: the gradients are 1 : 2 : 3 : 4.
    assert (step[-1] / step[0]).item() == pytest.approx(4, rel=1e-3)


def test_full_model_clipping_leaves_small_gradients_alone():
    step = clipped_steps(1000.0, 2.0, gradient=0.25)
    assert torch.allclose(step[:12], torch.full((12,), -0.25))


def test_full_model_clipping_is_part_of_a_step_of_training():
    model = narrow_model()
    optimizer = build_optimizer(narrow_cfg("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.01), model)
    total(model([image_input([[10.0, 12.0, 60.0, 70.0]], [1])])).backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert nn.utils.parameters_to_vector(gradients).norm() > 0.1
    optimizer.step()
    assert nn.utils.parameters_to_vector(gradients).norm().item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("optimizer", ["SGD", "ADAMW"])
def test_detectron2s_clipping_by_value_works_with_both(optimizer):
    options = ("SOLVER.OPTIMIZER", optimizer, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value")
    model = nn.Linear(2, 2)
    built = build_optimizer(narrow_cfg(*options, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.3), model)
    model.weight.grad, model.bias.grad = torch.full((2, 2), 9.0), torch.full((2,), -0.1)
    built.step()
    assert torch.equal(model.weight.grad, torch.full((2, 2), 0.3))
    assert torch.equal(model.bias.grad, torch.full((2,), -0.1))


@pytest.mark.parametrize("enabled", [True, False])
def test_clipping_is_an_option(enabled):
    cfg = narrow_cfg("SOLVER.CLIP_GRADIENTS.ENABLED", enabled)
    model = nn.Linear(2, 2)
    optimizer = build_optimizer(cfg, model)
    model.weight.grad, model.bias.grad = torch.full((2, 2), 9.0), torch.full((2,), 9.0)
    optimizer.step()
    assert (model.weight.grad < 9).all() == enabled


def test_the_config_given_is_not_changed():
    cfg = narrow_cfg()
    before = cfg.clone()
    build_optimizer(cfg, nn.Linear(2, 2))
    assert cfg == before
