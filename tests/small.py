"""Parts and pipelines that train in a blink, registered so that runs can write their specs."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import crl_core as crl
from crl_core import Branch, Contrast, Pipeline, View, same


class PointItems:
    """Points `[N, 5]` around three centres, which are their labels."""

    def __init__(self, count: int, seed: int, broken: int, labels: bool) -> None:
        generator = torch.Generator().manual_seed(seed)
        label = torch.arange(count) % 3
        centres = torch.eye(3, 5) * 3
        self.data = centres[label] + torch.randn(count, 5, generator=generator)
        self.data[:broken] = float("nan")
        self.columns = {"instance": torch.arange(count), **({"label": label} if labels else {})}

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, indices: list[int]) -> View:
        return View(self.data[indices], {name: column[indices] for name, column in self.columns.items()})


class Points:
    """A source of points; the first `broken` of the training items hold NaN."""

    splits: ClassVar[tuple[str, ...]] = ("train", "test")

    def __init__(self, count: int = 48, broken: int = 0, labels: bool = True) -> None:
        self.count, self.broken, self.labels = count, broken, labels

    def items(self, split: str) -> PointItems:
        train = split == "train"
        return PointItems(self.count if train else 30, int(not train), self.broken if train else 0, self.labels)


class Noisy:
    """Views of points: the point, and noise."""

    views = ("a", "b")

    def __init__(self, noise: float = 0.3) -> None:
        self.noise = noise

    def __call__(self, batch: View) -> dict[str, View]:
        return {name: View(batch.data + self.noise * torch.randn_like(batch.data), batch.meta) for name in self.views}

    def clean(self, batch: View) -> View:
        return batch


class Perceptron(nn.Module):
    """Points `[N, 5]` to representations `[N, width]`."""

    def __init__(self, width: int = 8, norm: bool = True) -> None:
        super().__init__()
        self.width, self.norm = width, norm
        middle = [nn.BatchNorm1d(16)] if norm else []
        self.layers = nn.Sequential(nn.Linear(5, 16), *middle, nn.ReLU(), nn.Linear(16, width))

    def forward(self, data: Tensor) -> Tensor:
        found: Tensor = self.layers(data)
        return found


crl.register("source", "small-points", Points)
crl.register("sampler", "small-noisy", Noisy)
crl.register("encoder", "small-perceptron", Perceptron)


def points(count: int = 12, **columns: Tensor) -> View:
    return View(torch.randn(count, 5), {"instance": torch.arange(count), **columns})


def simclr(norm: bool = True) -> Pipeline:
    return Pipeline(
        Noisy(), encoder=Perceptron(norm=norm), head=crl.MLP(6, norm=norm), score=crl.Cosine(0.2), loss=crl.InfoNCE()
    )


def moco(norm: bool = True, size: int = 20) -> Pipeline:
    return Pipeline(
        Noisy(),
        branches={
            "query": Branch("a", encoder=Perceptron(norm=norm), head=crl.MLP(6, norm=norm)),
            "key": Branch("b", tracks="query", update=crl.Momentum(0.9)),
        },
        contrasts=[
            Contrast(
                "query", "key", score=crl.Cosine(0.2), loss=crl.InfoNCE(), keys=crl.Queue(size),
                positive=same("instance") & same("batch"), negative=~same("instance") & ~same("batch"),
            )
        ],
    )  # fmt: skip


def byol(norm: bool = True) -> Pipeline:
    return Pipeline(
        Noisy(),
        branches={
            "projection": Branch(("a", "b"), encoder=Perceptron(norm=norm), head=crl.MLP(6, norm=norm)),
            "online": Branch(tap="projection", head=crl.Prediction(norm=norm)),
            "target": Branch(("a", "b"), tracks="projection", update=crl.Momentum(crl.Scheduled(0.9, 1.0))),
        },
        contrasts=[Contrast("online", "target", loss=crl.Regression(), positive=same("instance") & ~same("view"))],
    )


# -- whether something was learned ------------------------------------------------------------------------


class Veiled(Noisy):
    """Views that agree in the first two numbers of a point; the other three are mostly noise."""

    def __call__(self, batch: View) -> dict[str, View]:
        noise = torch.tensor([0.1, 0.1, 3.0, 3.0, 3.0])
        return {name: View(batch.data + noise * torch.randn_like(batch.data), batch.meta) for name in self.views}


def veiled(count: int) -> View:
    """Points `[N, 5]` of six labels, which lie on a circle in the first two numbers; the rest is larger, and noise."""
    label = torch.randint(6, (count,))
    angle = label * torch.pi / 3
    circle = torch.stack([angle.cos(), angle.sin()], 1) + 0.1 * torch.randn(count, 2)
    return View(torch.cat([circle, 3 * torch.randn(count, 3)], 1), {"instance": torch.arange(count), "label": label})


def known_labels(pipeline: Pipeline) -> float:
    """The share of fresh points whose label five nearest others tell; chance is a sixth."""
    rows, asked = veiled(400), veiled(400)
    pipeline.eval()
    with torch.no_grad():
        near = torch.cdist(*(F.normalize(pipeline.encode(batch), dim=1) for batch in (asked, rows)))
    pipeline.train()
    votes = rows.meta["label"][near.topk(5, largest=False).indices].mode(1).values
    return float((votes == asked.meta["label"]).float().mean())


def learns(make: Callable[[], Pipeline], steps: int = 300, chunk: int | None = None) -> bool:
    """Whether training a method lets neighbours tell labels that they don't before, and no embeddings collapse.

    A falling loss shows neither: all in one point is the least loss of a siamese net without a predictor.
    """
    pipeline = make().replace("sampler", Veiled()).build(veiled(64)).train()
    untrained = known_labels(pipeline)
    optimiser = torch.optim.AdamW((p for p in pipeline.parameters() if p.requires_grad), 1e-2)
    for _ in range(steps):
        losses = pipeline.loss(veiled(64), chunk=chunk)
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        pipeline.on_step()
    spreads = [float(crl.spread(table.z.detach())) for table in pipeline.embed(pipeline.sampler(veiled(200))).values()]
    return known_labels(pipeline) > untrained + 0.2 and min(spreads) > 0.2


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that is made."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        found = function(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, (tuple, list)) else (found,):
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.untyped_storage().nbytes() // tensor.element_size())
        return found
