"""Methods of every shape, of small parts: two encoders, padded words, several sources, stages, micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import attrs
import torch
from small import Noisy, Perceptron, Points
from torch import Tensor, nn

import crl_core as crl
from crl_core import Branch, Contrast, Pipeline, Training, View, same

# -- parts of these methods ------------------------------------------------------------------------


class PairItems:
    """What one point looks like through two instruments; the label is its centre."""

    def __init__(self, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.label = torch.arange(count) % 3
        centre = torch.eye(3, 5)[self.label] * 3
        self.left = centre + torch.randn(count, 5, generator=generator) / 2
        self.right = centre.flip(1) + torch.randn(count, 5, generator=generator) / 2

    def __len__(self) -> int:
        return len(self.label)

    def __getitems__(self, indices: list[int]) -> View:
        index = torch.tensor(indices)
        data = {"left": self.left[index], "right": self.right[index]}
        return View(data, {"instance": index, "label": self.label[index]})


class PairSource:
    splits: ClassVar[tuple[str, ...]] = ("train", "test")

    def __init__(self, count: int = 48) -> None:
        self.count = count

    def items(self, split: str) -> PairItems:
        return PairItems(self.count if split == "train" else 30, int(split == "test"))


class BothSides:
    """Each instrument is a view; a clean view is by name."""

    views = ("left", "right")

    def __call__(self, batch: View) -> dict[str, View]:
        return {name: View(batch.data[name], batch.meta) for name in self.views}

    clean = __call__


class SentenceItems:
    """Sentences of two to six words by number, padded, with their mask; the label is the kind of words."""

    def __init__(self, count: int, seed: int, label: bool = True) -> None:
        generator = torch.Generator().manual_seed(seed)
        kind = torch.arange(count) % 3
        words = 1 + 5 * kind.unsqueeze(1) + torch.randint(5, (count, 6), generator=generator)
        length = torch.randint(2, 7, (count, 1), generator=generator)
        self.mask = torch.arange(6) < length
        self.words = words * self.mask
        self.meta = {"instance": torch.arange(count), "label": kind}

    def __len__(self) -> int:
        return len(self.words)

    def __getitems__(self, indices: list[int]) -> View:
        index = torch.tensor(indices)
        data = {"words": self.words[index], "mask": self.mask[index]}
        return View(data, {name: column[index] for name, column in self.meta.items()})


class Sentences:
    splits: ClassVar[tuple[str, ...]] = ("train", "test")

    def __init__(self, count: int = 48) -> None:
        self.count = count

    def items(self, split: str) -> SentenceItems:
        return SentenceItems(self.count if split == "train" else 30, int(split == "test"))


class Twice:
    """The same sentence twice: the views differ by what the encoder drops (SimCSE)."""

    views = ("a", "b")

    def __call__(self, batch: View) -> dict[str, View]:
        return {name: View({**batch.data}, batch.meta) for name in self.views}

    def clean(self, batch: View) -> View:
        return batch


class Words(nn.Module):
    """Sentences to local features, one for each word; padding is not valid."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.width = width
        self.table = nn.Embedding(16, width)
        self.layer = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Dropout(0.1))

    def forward(self, data: Mapping[str, Tensor]) -> crl.Embeddings:
        return crl.Embeddings(self.layer(self.table(data["words"])), {"valid": data["mask"]})


class Sentence(Words):
    """The mean of a sentence's words."""

    def forward(self, data: Mapping[str, Tensor]) -> Any:  # type: ignore[override]
        return super().forward(data).mean()


for kind, name, part in (
    ("source", "pairs", PairSource),
    ("sampler", "both-sides", BothSides),
    ("source", "sentences", Sentences),
    ("sampler", "twice", Twice),
    ("encoder", "words", Words),
    ("encoder", "sentence", Sentence),
):
    crl.register(kind, f"house-{name}", part)

# -- the methods -----------------------------------------------------------------------------------

SHORT = Training(epochs=3, batch_size=16, optimiser=crl.AdamW(1e-2), schedule=crl.CosineDecay(warmup=0.0), log_every=1)


def clip() -> tuple[Pipeline, Any, Any]:
    pipeline = Pipeline(
        BothSides(),
        branches={
            "left": Branch("left", encoder=Perceptron(), head=crl.Linear(6)),
            "right": Branch("right", encoder=Perceptron(), head=crl.Linear(6)),
        },
        contrasts=[
            Contrast("left", "right", score=crl.Cosine(0.2, learned=True), loss=crl.InfoNCE(), symmetric=True),
            Contrast(
                "right", keys=crl.Prototypes(3, "right", warmup=1), loss=crl.InfoNCE(), positive=same("cluster"),
                weight=0.1, name="prototypes",
            ),
        ],
    )  # fmt: skip
    return pipeline, PairSource(), SHORT


def simcse() -> tuple[Pipeline, Any, Any]:
    pipeline = Pipeline(Twice(), encoder=Sentence(), score=crl.Cosine(0.1), loss=crl.InfoNCE())
    return pipeline, Sentences(), attrs.evolve(SHORT, chunk=5)


def symmetric_with_a_queue() -> tuple[Pipeline, Any, Any]:
    pipeline, source, training = clip()
    contrast = Contrast(
        "left", "right", score=crl.Cosine(0.2), loss=crl.InfoNCE(), symmetric=True, keys=crl.Queue(40),
        negative=~same("instance"),
    )  # fmt: skip
    return Pipeline(pipeline.sampler, branches=dict(pipeline.branches.items()), contrasts=[contrast]), source, training


def drawn_next_to_a_queue() -> tuple[Pipeline, Any, Any]:
    pipeline, source, training = clip()
    contrast = Contrast(
        "left", "right", score=crl.Cosine(0.2), loss=crl.InfoNCE(), keys=[crl.Drawn(4), crl.Queue(40)],
        negative=~same("instance"),
    )  # fmt: skip
    return Pipeline(pipeline.sampler, branches=dict(pipeline.branches.items()), contrasts=[contrast]), source, training


def two_sources_in_turn() -> tuple[Pipeline, Any, Any]:
    encoder = Perceptron()
    pipeline = Pipeline(
        {"pairs": BothSides(), "points": Noisy()},
        branches={
            "left": Branch("left", encoder=encoder, head=crl.Linear(6)),
            "right": Branch("right", encoder=Perceptron()),
            "right-projected": Branch(tap="right", head=crl.Linear(6)),
            "views": Branch(("a", "b"), encoder=encoder, head=crl.Linear(6)),
        },
        contrasts=[
            Contrast("left", "right-projected", score=crl.Cosine(0.2), loss=crl.InfoNCE(), source="pairs"),
            Contrast(
                "views", "views", score=crl.Cosine(0.2), loss=crl.InfoNCE(), source="points",
                positive=same("instance") & ~same("row"),
            ),
        ],
    )  # fmt: skip
    return pipeline, crl.Mixed({"pairs": PairSource(), "points": Points()}), SHORT


def two_stages() -> tuple[Pipeline, Any, Any]:
    pipeline, source, training = clip()
    head = attrs.evolve(training, freeze=["branches.left.encoder"], terms=["left-right"], epochs=2)
    return pipeline, source, [training, head]


def micro_batches_with_queue_and_momentum() -> tuple[Pipeline, Any, Any]:
    pipeline = Pipeline(
        Noisy(),
        branches={
            "query": Branch("a", encoder=Perceptron(norm=False), head=crl.MLP(6, norm=False)),
            "key": Branch("b", tracks="query", update=crl.Momentum(crl.Scheduled(0.9, 1.0))),
        },
        contrasts=[
            Contrast(
                "query", "key", score=crl.Cosine(0.2), loss=crl.InfoNCE(), keys=crl.Queue(40),
                positive=same("instance") & same("batch"), negative=~same("instance") & ~same("batch"),
            )
        ],
    )  # fmt: skip
    return pipeline, Points(), attrs.evolve(SHORT, accumulate=4)


METHODS: list[Callable[[], tuple[Pipeline, Any, Any]]] = [
    clip,
    simcse,
    symmetric_with_a_queue,
    drawn_next_to_a_queue,
    two_sources_in_turn,
    two_stages,
    micro_batches_with_queue_and_momentum,
]
