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
from tabulate import tabulate
from torch import Tensor

from ...config import replacing
from ...modeling import (
    AutoAssign,
    GroundTruth,
    LabelAssignment,
    Predictions,
    check_finite,
    make_grid,
)
from .style import COLORMAP, literal, save_figure

__all__ = ["CenterPrior", "draw_priors", "format_priors", "read_priors", "write_priors"]

_PANEL_INCHES = 1.75
_PANELS_PER_ROW = 6
_PANELS_PER_PAGE = 30


@dataclass(frozen=True)
class CenterPrior:
    """The center prior of a class.

    Attributes:
        name: of the class.
        mu: (2,) x and y of its center relative to the box center, in strides.
        sigma: (2,) its standard deviations in x and y, in strides.
        xs: (X,) positions at which ``values`` are given, in strides from the box center.
        values: (X, X) the prior as the losses compute it, rows from top to bottom.
    """

    name: str
    mu: np.ndarray
    sigma: np.ndarray
    xs: np.ndarray
    values: np.ndarray

    @property
    def row(self) -> list[str | float]:
        """Name, μ and σ, as a row of a table."""
        return [self.name, *self.mu.tolist(), *self.sigma.tolist()]


def read_priors(assignment: LabelAssignment, class_names: Sequence[str]) -> list[CenterPrior]:
    """The priors that a label assignment has learned: one per class, or one shared by all classes.

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
    # Every panel shows at least 2 strides around the box center, and 2 σ around every μ.
    reach = max(2.0, float((mu.abs() + 2.2 * sigma).max()))
    xs = torch.linspace(-reach, reach, 61)
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
    # One location of stride 1 at the origin, and for each position an object whose center is at
    # the opposite position.
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
    """Draw the priors as small multiples: prior.png, or prior_1.png, prior_2.png ... of 30 classes.

    Returns:
        The files written.
    """
    pages = [
        priors[first : first + _PANELS_PER_PAGE]
        for first in range(0, len(priors), _PANELS_PER_PAGE)
    ]
    names = ["prior"] if len(pages) == 1 else [f"prior_{i + 1}" for i in range(len(pages))]
    paths = [Path(folder) / f"{name}.png" for name in names]
    for page, path in zip(pages, paths, strict=True):
        save_figure(_page_figure(page), path)
    return paths


def _page_figure(priors: Sequence[CenterPrior]) -> Figure:
    columns = min(len(priors), _PANELS_PER_ROW)
    rows = -(-len(priors) // columns)
    # Few panels are drawn larger.
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
    drawn = axes.contourf(
        prior.xs, prior.xs, prior.values, levels=np.linspace(0, 1, 11), cmap=COLORMAP
    )
    turn = np.linspace(0, 2 * np.pi, 100)
    for scale, style in ((1, "-"), (2, ":")):
        x, y = prior.mu[:, None] + scale * prior.sigma[:, None] * (np.cos(turn), np.sin(turn))
        axes.plot(x, y, style, color="white", linewidth=1, label=f"{scale} σ")
    axes.plot(0, 0, "+", color="black", markersize=9, linestyle="", label="box center")
    axes.plot(*prior.mu, ".", color="#ff5a36", markersize=7, linestyle="", label="μ")
    axes.set_title(literal(prior.name), fontsize=9)
    axes.set_aspect("equal")
    axes.set(xlim=prior.xs[[0, -1]], ylim=prior.xs[[-1, 0]])  # y points down, as in images
    axes.tick_params(labelsize=7)
    return drawn


def format_priors(priors: Sequence[CenterPrior]) -> str:
    """A table of μ and σ, in strides, as text."""
    rows = [prior.row for prior in priors]
    return tabulate(rows, headers=("class", "μ x", "μ y", "σ x", "σ y"), floatfmt=".3f")


def write_priors(priors: Sequence[CenterPrior], path: str | Path) -> None:
    """Write μ and σ, in strides, as CSV."""
    with replacing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        header = ("class", "mu_x", "mu_y", "sigma_x", "sigma_y")
        csv.writer(file).writerows([header, *(prior.row for prior in priors)])
