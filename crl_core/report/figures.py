"""The pictures of a report. Each function returns a matplotlib figure, and touches no global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

_BLUE, _GREY, _LIGHT = "#2a6fb0", "#8a8a8a", "#c9c9c9"
_COLOUR = {"raw": _LIGHT, "untrained": _GREY, "trained": _BLUE}


def curve(metrics: Sequence[Mapping[str, float]]) -> Figure:
    """The loss over the steps, and beside it how the embeddings lie: both collapse and progress show.

    Where the loss estimates mutual information, that as well.
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
        right.set_visible(False)  # few rows or none at a time: nobody measured how they lie
    for axes in more:
        for name in nats:
            axes.plot(*zip(*((line["step"], line[name]) for line in metrics if name in line), strict=True), label=name)
        axes.set(xlabel="step", ylabel="nats", title="mutual information, estimated")
        axes.legend(frameon=False)
    for axes in (left, right, *more):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def bars(splits: Mapping[str, Mapping[str, float]], name: str) -> Figure:
    """One figure for raw input, untrained and trained encoder, by split."""
    figure = Figure(figsize=(1.5 + 2.2 * len(splits), 2.8), layout="constrained")
    axes = figure.subplots()
    for i, values in enumerate(splits.values()):
        for j, (of, value) in enumerate(values.items()):
            place = i + (j - (len(values) - 1) / 2) * 0.27
            axes.bar(place, value, 0.25, color=_COLOUR[of], label=of if i == 0 else None)
            axes.text(place, value, f"{value:.3f}", ha="center", va="bottom", fontsize=8)
    highest = max([1.0, *(value for values in splits.values() for value in values.values())])
    axes.set(title=name, xticks=range(len(splits)), xticklabels=list(splits), ylim=(0, 1.1 * highest))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def grid(rows: Sequence[Tensor], titles: Sequence[str], marks: Sequence[Sequence[bool | None]] | None = None) -> Figure:
    """Rows of pictures, bytes `[n, H, W, 3]`; each row's title stands over its first picture's column.

    Args:
        marks: for every picture, whether it is right (a blue frame), wrong (red) or neither.
    """
    width = max(len(row) for row in rows)
    figure = Figure(figsize=(0.9 * width + 1.6, 0.95 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), width, squeeze=False)
    for i, row in enumerate(rows):
        for j in range(width):
            cell = axes[i, j]
            cell.set(xticks=[], yticks=[])
            cell.spines[:].set_visible(False)
            if j >= len(row):
                continue
            cell.imshow(row[j].numpy(), interpolation="nearest")
            mark = marks[i][j] if marks is not None else None
            if mark is not None:
                cell.spines[:].set(visible=True, color=_BLUE if mark else "#c0392b", linewidth=2)
        axes[i, 0].set_ylabel(titles[i], rotation=0, ha="right", va="center", fontsize=9)
    return figure


def maps(tables: Mapping[str, Tensor], label: Tensor | None) -> Figure:
    """Representations `[N, d]` laid out in the plane by t-SNE, coloured by label; grey where that is unknown."""
    figure = Figure(figsize=(3.2 * len(tables), 3.2), layout="constrained")
    for axes, (title, z) in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True):
        place = _plane(z)
        known = np.zeros(len(place), bool) if label is None else label.numpy() >= 0
        axes.scatter(*place[~known].T, s=6, linewidths=0, color=_BLUE if label is None else _LIGHT)
        if label is not None:
            axes.scatter(*place[known].T, s=6, linewidths=0, c=label.numpy()[known], cmap="tab10")
        axes.set(title=title, xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return figure


def _plane(z: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    from sklearn.manifold import TSNE

    rows = F.normalize(z.float(), dim=1).numpy()
    perplexity = min(30.0, max(1.0, (len(rows) - 1) / 4))
    place: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = TSNE(
        perplexity=perplexity, random_state=0
    ).fit_transform(rows)
    return place


def nearest(query: Tensor, bank: Tensor, count: int) -> Tensor:
    """`[n, count]`: the indices of the most similar rows, by cosine; fewer where there are fewer."""
    similarity = F.normalize(query.float(), dim=1) @ F.normalize(bank.float(), dim=1).T
    return torch.topk(similarity, min(count, len(bank)), dim=1).indices
