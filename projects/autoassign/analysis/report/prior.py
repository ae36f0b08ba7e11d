"""The center prior that AutoAssign has learned."""

from __future__ import annotations

import tempfile

from ...runs import LoadedDetector
from ..figures.prior_figure import draw_priors, read_priors
from .markup import Html, Section, data_uri, missing, table

__all__ = ["prior_section"]


def prior_section(subject: LoadedDetector | None, why: str) -> Section:
    """The figure of ``visualize.py prior`` and its numbers.

    Args:
        subject: the trained detector; None if there is none.
        why: the reason for that.
    """
    title = "Center prior"
    if subject is None:
        return Section("prior", title, missing(f"No prior is shown: {why}"))
    try:
        priors = read_priors(subject.model.label_assignment, subject.class_names)
    except ValueError as error:
        return Section("prior", title, missing(f"No prior is shown: {error}"))
    with tempfile.TemporaryDirectory() as folder:
        pictures = [path.read_bytes() for path in draw_priors(priors, folder)]
    figures = "".join(
        '<div class="scroll" tabindex="0"><img class="figure" '
        'alt="Center prior of each class; the table below has its numbers." '
        f'src="{data_uri(picture, "image/png")}"></div>'
        for picture in pictures
    )
    rows = [
        [prior.name, *(f"{x:.3f}" for x in (*prior.mu.tolist(), *prior.sigma.tolist()))]
        for prior in priors
    ]
    numbers = table(("class", "μ x", "μ y", "σ x", "σ y"), rows, sortable=True)
    body = f"{figures}<p>In strides from the box center; y points down.</p>{numbers}"
    return Section("prior", title, Html(body))
