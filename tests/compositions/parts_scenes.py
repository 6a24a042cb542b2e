"""Scenes of known classes, seen through a map that is not linear, with much that has nothing to do with the class."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

import crl_core as crl
from crl_core import View

CONTENT, NUISANCE, SEEN = 6, 6, 48


class Items:
    """What one split of a source holds, by index."""

    def __init__(self, data: Tensor, columns: dict[str, Tensor]) -> None:
        self.data, self.columns = data, {"instance": torch.arange(len(data)), **columns}

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, indices: list[int]) -> View:
        return View(self.data[indices], {name: column[indices] for name, column in self.columns.items()})


class Scenes:
    """What scenes are made of, `[N, CONTENT + NUISANCE]`: content around the centre of its class, and nuisance.

    Args:
        groups: the column `group` counts groups of neighbouring classes; by default each class is its own.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")

    def __init__(self, classes: int = 8, groups: int | None = None, count: int = 1024, seed: int = 0) -> None:
        self.classes, self.groups, self.count, self.seed = classes, groups, count, seed

    def items(self, split: str) -> Items:
        generator = torch.Generator().manual_seed(self.seed)
        centres = torch.randn(self.classes, CONTENT, generator=generator)
        generator.manual_seed(2 * self.seed + self.splits.index(split))
        label = torch.arange(self.count) % self.classes
        content = centres[label] + 0.35 * torch.randn(self.count, CONTENT, generator=generator)
        nuisance = torch.randn(self.count, NUISANCE, generator=generator)
        groups = self.groups or self.classes
        return Items(torch.cat([content, nuisance], 1), {"label": label, "group": label * groups // self.classes})


def seen(scenes: Tensor) -> Tensor:
    """What a scene looks like: `[…, CONTENT + NUISANCE]` to `[…, SEEN]`, by a fixed map that mixes all of it."""
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(CONTENT + NUISANCE, 64, generator=generator) / math.sqrt(CONTENT + NUISANCE)
    fold = torch.randn(64, SEEN, generator=generator) / math.sqrt(64)
    return torch.tanh(torch.sin(1.5 * scenes @ mix) @ fold * 2)


def otherwise(scenes: Tensor) -> Tensor:
    """The same content among other nuisance."""
    return torch.cat([scenes[..., :CONTENT], torch.randn_like(scenes[..., CONTENT:])], -1)


class Looks:
    """Two looks at a scene, which share its content and nothing else."""

    views: ClassVar[tuple[str, ...]] = ("one", "other")

    def __call__(self, batch: View) -> dict[str, View]:
        return {name: View(seen(otherwise(batch.data)), batch.meta) for name in self.views}

    def clean(self, batch: View) -> View:
        return View(seen(batch.data), batch.meta)


class Perceptron(nn.Module):
    """`[…, SEEN]` to `[…, size]`."""

    def __init__(self, hidden: int = 128, size: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.hidden, self.size, self.depth = hidden, size, depth
        widths = [SEEN] + [hidden] * depth
        layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.LayerNorm(b), nn.ReLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, size))

    def forward(self, data: Tensor) -> Tensor:
        output: Tensor = self.layers(data)
        return output


crl.register("sampler", "looks", Looks)
crl.register("encoder", "perceptron", Perceptron)
