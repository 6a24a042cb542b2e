"""The pictures of a report. Each function returns a matplotlib figure, and changes no global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from .tsne import plane

_BLUE, _GREY, _LIGHT = "#2a6fb0", "#8a8a8a", "#c9c9c9"
_COLOUR = {"raw": _LIGHT, "untrained": _GREY, "trained": _BLUE}


def curve(metrics: Sequence[Mapping[str, float]]) -> Figure:
    """The loss over the steps, next to measures of the embeddings, which show collapse and progress.

    If the loss estimates mutual information, a third curve shows it.
    """
    nats = sorted({name for line in metrics for name in line if name.endswith("-nats")})
    figure = Figure(figsize=(13.5 if nats else 9, 3), layout="constrained")
    left, right, *more = figure.subplots(1, 3 if nats else 2)
    steps = [(line["step"], line["loss"]) for line in metrics if "loss" in line]
    left.plot(*zip(*steps, strict=True), color=_BLUE)
    left.set(xlabel="step", ylabel="loss", title="loss")
    for name, colour in (("spread", _BLUE), ("alignment", "#c2571a"), ("uniformity", _GREY)):
        points = [(line["step"], line[name]) for line in metrics if name in line]
        if points:
            right.plot(*zip(*points, strict=True), color=colour, label=name)
    right.set(xlabel="step", title="the embeddings")
    if right.lines:
        right.legend(frameon=False)
    else:
        right.set_visible(False)  # too few rows in a batch to measure
    for axes in more:
        for name in nats:
            axes.plot(*zip(*((line["step"], line[name]) for line in metrics if name in line), strict=True), label=name)
        axes.set(xlabel="step", ylabel="nats", title="mutual information, estimated")
        axes.legend(frameon=False)
    for axes in (left, right, *more):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def bars(splits: Mapping[str, Mapping[str, float]], name: str) -> Figure:
    """Bars for raw input, untrained and trained encoder, by split."""
    figure = Figure(figsize=(1.5 + 2.2 * len(splits), 2.8), layout="constrained")
    axes = figure.subplots()
    for i, values in enumerate(splits.values()):
        for j, (of, value) in enumerate(values.items()):
            place = i + (j - (len(values) - 1) / 2) * 0.27
            axes.bar(place, value, 0.25, color=_COLOUR[of], label=of if i == 0 else None)
            axes.text(place, value, f"{value:.3f}", ha="center", va="bottom", fontsize=8)
    shown = [value for values in splits.values() for value in values.values()]
    ends = 1.1 * min([0.0, *shown]), 1.1 * max([1.0, *shown])
    axes.set(title=name, xticks=range(len(splits)), xticklabels=list(splits), ylim=ends)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def grid(rows: Sequence[Tensor], titles: Sequence[str], marks: Sequence[Sequence[bool | None]] | None = None) -> Figure:
    """Rows of pictures, bytes `[n, H, W, 3]`, each row with its title on the left.

    Args:
        marks: whether each picture is right (a blue frame), wrong (red) or neither.
    """
    count, gap = max(len(row) for row in rows), 0.12
    size = max(row.shape[1] for row in rows), max(row.shape[2] for row in rows)
    figure = Figure(figsize=(0.9 * count + 1.6, 0.95 * len(rows)), layout="constrained")
    axes = figure.subplots()  # one for all pictures, because axes for each would take a second to lay out
    for i, row in enumerate(rows):
        for j, picture in enumerate(_resized(row, size)):
            axes.imshow(picture.numpy(), extent=(j, j + 1 - gap, i + 1 - gap, i), interpolation="nearest")
            mark = marks[i][j] if marks is not None else None
            if mark is not None:
                colour = _BLUE if mark else "#c0392b"
                axes.add_patch(Rectangle((j, i), 1 - gap, 1 - gap, fill=False, edgecolor=colour, linewidth=2))
    axes.set(xlim=(-gap, count), ylim=(len(rows), -gap), xticks=[], aspect=size[0] / size[1])
    axes.set_yticks([i + 0.5 - gap / 2 for i in range(len(rows))], titles, fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def _resized(row: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures `[n, H, W, 3]`, resized without interpolation."""
    if row.shape[1:3] == size:
        return row
    return F.interpolate(row.permute(0, 3, 1, 2).float(), size).permute(0, 2, 3, 1).to(row.dtype)


def maps(tables: Mapping[str, Tensor], label: Tensor | None) -> Figure:
    """Representations `[N, d]`, placed in the plane by t-SNE and coloured by label; grey if the label is unknown."""
    figure = Figure(figsize=(3.2 * len(tables), 3.2), layout="constrained")
    for axes, (title, z) in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True):
        place = plane(z).numpy()
        known = np.zeros(len(place), bool) if label is None else label.numpy() >= 0
        axes.scatter(*place[~known].T, s=6, linewidths=0, color=_BLUE if label is None else _LIGHT)
        if label is not None:
            axes.scatter(*place[known].T, s=6, linewidths=0, c=label.numpy()[known], cmap="tab10")
        axes.set(title=title, xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return figure


def nearest(query: Tensor, bank: Tensor, count: int) -> Tensor:
    """`[n, count]`: the indices of the most similar rows by cosine; fewer if `bank` has fewer."""
    similarity = F.normalize(query.float(), dim=1) @ F.normalize(bank.float(), dim=1).T
    return torch.topk(similarity, min(count, len(bank)), dim=1).indices
