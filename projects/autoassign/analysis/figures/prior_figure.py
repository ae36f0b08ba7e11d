"""The center prior that AutoAssign has learned, class by class (its Figure 5)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from torch import Tensor

from ...modeling import GroundTruth, LabelAssignment, Predictions, check_finite, make_grid
from ...modeling.assignment import AutoAssign
from .heat import COLORMAP

__all__ = ["CenterPrior", "draw_priors", "format_priors", "read_priors", "write_priors"]

_DPI = 130
_PANEL_INCHES = 1.75
_PANELS_PER_ROW = 6
_PANELS_PER_PAGE = 30
# Points of a panel in each direction.
_POINTS = 61
_LEVELS = np.linspace(0, 1, 11)
# A panel reaches at least so far, and so many σ beyond the center of the prior.
_LEAST_REACH = 2.0
_REACH_IN_SIGMA = 2.2


@dataclass(frozen=True)
class CenterPrior:
    """The center prior of a class.

    Attributes:
        name: of the class.
        mu: (2,) x and y of its center from that of the box, in strides.
        sigma: (2,) its standard deviations, in strides.
        xs: (X,) places at which ``values`` are given, in strides from the box center.
        values: (X, X) the prior, rows from top to bottom, as the losses compute it.
    """

    name: str
    mu: np.ndarray
    sigma: np.ndarray
    xs: np.ndarray
    values: np.ndarray


def read_priors(assignment: LabelAssignment, class_names: Sequence[str]) -> list[CenterPrior]:
    """The priors that a label assignment has learned: one for each class, or one if it is shared.

    Raises:
        ValueError: the label assignment learns no center prior, or what it learned is not finite.
    """
    if not isinstance(assignment, AutoAssign):
        raise ValueError(
            f"{type(assignment).__name__} has no center prior: only AutoAssign learns one"
        )
    if not assignment.learns_prior:
        raise ValueError(
            "MODEL.LABEL_ASSIGNMENT.AUTOASSIGN.CENTER_WEIGHTING is "
            f"'{assignment.center_weighting}': there is no learned center prior"
        )
    mu = assignment.mu.detach().cpu()
    sigma = assignment.sigma.detach().cpu().abs()
    check_finite("center prior", torch.stack((mu, sigma)))
    names = list(class_names) if len(mu) > 1 or len(class_names) == 1 else ["all classes"]
    reach = max(_LEAST_REACH, float((mu.abs() + _REACH_IN_SIGMA * sigma).max()))
    xs = torch.linspace(-reach, reach, _POINTS)
    return [
        CenterPrior(
            name=name,
            mu=mu[index].numpy(),
            sigma=sigma[index].numpy(),
            xs=xs.numpy(),
            values=_center_weights(assignment, index, xs),
        )
        for index, name in enumerate(names)
    ]


def _center_weights(assignment: AutoAssign, class_index: int, xs: Tensor) -> np.ndarray:
    """(X, X) center weights of a class around the box center, by the function of the losses."""
    # One location with stride 1 at the origin, and for each place an object whose center lies at
    # the opposite place.
    device = assignment.mu.device
    y, x = torch.meshgrid(xs, xs, indexing="ij")
    centers = -torch.stack((x, y), dim=-1).view(-1, 2)
    half = 2 * float(xs.abs().max()) + 1
    gt = GroundTruth(
        boxes=torch.cat((centers - half, centers + half), dim=1).to(device),
        classes=torch.full((len(centers),), class_index, device=device),
        counts=(len(centers),),
    )
    predictions = Predictions(
        cls_logits=torch.zeros(1, assignment.num_classes, 1, device=device).transpose(1, 2),
        ltrb=torch.ones(1, 1, 4, device=device),
        obj_logits=None,
    )
    grid = make_grid((1,), ((1, 1),), device)
    weights = assignment.explain(predictions, grid, gt).maps["center weight"]
    return weights.view(len(xs), len(xs)).cpu().numpy()


def draw_priors(priors: Sequence[CenterPrior], folder: str | Path) -> list[Path]:
    """Draw the priors as small multiples of one scale: prior.png, or prior_1.png, prior_2.png ...

    Returns:
        The files written, 30 classes each.
    """
    pages = [
        priors[first : first + _PANELS_PER_PAGE]
        for first in range(0, len(priors), _PANELS_PER_PAGE)
    ]
    paths = []
    for number, page in enumerate(pages, start=1):
        path = Path(folder) / ("prior.png" if len(pages) == 1 else f"prior_{number}.png")
        _page_figure(page).savefig(path, dpi=_DPI)
        paths.append(path)
    return paths


def _page_figure(priors: Sequence[CenterPrior]) -> Figure:
    columns = min(len(priors), _PANELS_PER_ROW)
    rows = -(-len(priors) // columns)
    # A few panels may be larger.
    side = _PANEL_INCHES * (1.9 if columns == 1 else 1.2 if rows == 1 else 1)
    figure = Figure(
        figsize=(max(4.6, columns * side + 1.1), rows * (side + 0.2) + 1.1), layout="constrained"
    )
    figure.suptitle("learned center prior, in strides from the box center", fontsize=11)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    drawn = [_draw_prior(axes, prior) for axes, prior in zip(panels.flat, priors, strict=False)]
    for axes in panels.flat[len(priors) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("y", fontsize=8)
    for axes in panels[-1]:
        axes.set_xlabel("x", fontsize=8)
    bar = figure.colorbar(
        drawn[0], ax=panels, fraction=0.03, aspect=10 + 12 * rows, ticks=[0, 0.5, 1]
    )
    bar.set_label("center weight", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=4, fontsize=8, framealpha=1,
        facecolor="#21918c", labelcolor="white",
    )  # fmt: skip
    return figure


def _draw_prior(axes: Axes, prior: CenterPrior) -> ContourSet:
    drawn = axes.contourf(prior.xs, prior.xs, prior.values, levels=_LEVELS, cmap=COLORMAP)
    center = prior.mu.tolist()
    turn = np.linspace(0, 2 * np.pi, 100)
    for scale, style in ((1, "-"), (2, ":")):
        x, y = prior.mu[:, None] + scale * prior.sigma[:, None] * (np.cos(turn), np.sin(turn))
        axes.plot(x, y, style, color="white", linewidth=1, label=f"{scale} σ")
    axes.plot(0, 0, "+", color="black", markersize=9, linestyle="", label="box center")
    axes.plot(*center, ".", color="#ff5a36", markersize=7, linestyle="", label="μ")
    axes.set_title(prior.name, fontsize=9)
    axes.set_aspect("equal")
    axes.set(xlim=prior.xs[[0, -1]], ylim=prior.xs[[-1, 0]])  # y points down, as in images
    axes.tick_params(labelsize=7)
    return drawn


def format_priors(priors: Sequence[CenterPrior]) -> str:
    """A table of μ and σ, in strides."""
    width = max(len("class"), *(len(prior.name) for prior in priors))
    lines = [f"{'class':{width}}     μ x     μ y     σ x     σ y"]
    lines += [
        f"{prior.name:{width}} " + " ".join(f"{value:7.3f}" for value in _numbers(prior))
        for prior in priors
    ]
    return "\n".join(lines)


def write_priors(priors: Sequence[CenterPrior], path: str | Path) -> None:
    """Write μ and σ as CSV, in strides."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["class", "mu_x", "mu_y", "sigma_x", "sigma_y"])
        writer.writerows([prior.name, *_numbers(prior)] for prior in priors)


def _numbers(prior: CenterPrior) -> list[float]:
    return [*prior.mu.tolist(), *prior.sigma.tolist()]
