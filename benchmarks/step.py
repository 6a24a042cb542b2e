"""A training step by a pipeline, and the same step written by hand in plain torch.

    python benchmarks/step.py [--json]

Views, encoder, head, loss, gradient and optimiser; the same parts from the same weights on the same batch,
interleaved in one process; CPU seconds, medians over the rounds. By hand, NT-Xent is what people write:
a masked matrix of all scores and F.cross_entropy. The third way is the whole loop of `crl_core.fit`. Where lightly is
installed, SimCLR by its blocks too, with its views made image by image and without them, for ResNet-18 with both stems.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Literal

import torch
import torch.nn.functional as F
from crl_vision.encoders.conv_net import ConvNet
from crl_vision.encoders.resnet import ResNet
from crl_vision.samplers.augmented import Augmented
from rows import show
from torch import Tensor, nn

import crl_core as crl

TEMPERATURE = 0.5


def batch_of(count: int, channels: int, size: int) -> crl.View:
    images = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8)
    return crl.View(images, {"instance": torch.arange(count)})


def nt_xent(z: Tensor) -> Tensor:
    z = F.normalize(z, dim=1)
    scores = (z @ z.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    count = len(z) // 2
    return F.cross_entropy(scores, (torch.arange(2 * count) + count) % (2 * count))


def by_hand(sampler: Augmented, encoder: nn.Module, head: nn.Module) -> Callable[[crl.View], None]:
    optimiser = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], 1e-3)

    def step(batch: crl.View) -> None:
        views = sampler(batch)
        loss = nt_xent(head(encoder(torch.cat([views["a"].data, views["b"].data]))))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def by_pipeline(pipeline: crl.Pipeline) -> Callable[[crl.View], None]:
    optimiser = torch.optim.AdamW(pipeline.parameters(), 1e-3)

    def step(batch: crl.View) -> None:
        pipeline.loss(batch).total.backward()
        optimiser.step()
        optimiser.zero_grad()
        pipeline.on_step()

    return step


class Repeated:
    """A source of one batch, over and over: what `fit` adds is seen, not what loading costs."""

    splits = ("train",)

    def __init__(self, batch: crl.View) -> None:
        self.batch = batch

    def items(self, split: str) -> Repeated:
        return self

    def __len__(self) -> int:
        return len(self.batch)

    def __getitems__(self, indices: list[int]) -> crl.View:
        return self.batch


def measure(name: str, encoder: nn.Module, batch: crl.View, rounds: int) -> dict[str, object]:
    torch.manual_seed(0)
    sampler = Augmented("simclr-small" if batch.data.shape[1] == 3 else "strokes")
    pipeline = crl.Pipeline(
        sampler, encoder=encoder, head=crl.MLP(128), score=crl.Cosine(TEMPERATURE), loss=crl.InfoNCE()
    ).build(batch)
    branch = pipeline.branches["query"]
    assert branch.encoder is not None
    assert branch.head is not None
    steps = {
        "hand": by_hand(sampler, copy.deepcopy(branch.encoder), copy.deepcopy(branch.head)),
        "pipeline": by_pipeline(copy.deepcopy(pipeline)),
    }
    source, training = Repeated(batch), crl.Training(epochs=1, batch_size=len(batch), schedule=crl.CosineDecay())
    for step in steps.values():
        step(batch)
    took: dict[str, list[float]] = {who: [] for who in steps}
    for i in range(rounds):
        for who, step in sorted(steps.items(), reverse=bool(i % 2)):
            start = time.process_time()
            step(batch)
            took[who].append(time.process_time() - start)
    start = time.process_time()
    crl.fit(pipeline, source, crl.Training(**{**as_dict(training), "epochs": 1}), accelerator="cpu", show=False)
    once = time.process_time() - start
    start = time.process_time()
    crl.fit(
        pipeline, source, crl.Training(**{**as_dict(training), "epochs": rounds + 1}), accelerator="cpu", show=False
    )
    fitted = (time.process_time() - start - once) / rounds
    hand, ours = statistics.median(took["hand"]), statistics.median(took["pipeline"])
    paired = statistics.median(b / a for a, b in zip(took["hand"], took["pipeline"], strict=True))
    return {
        "encoder": name,
        "batch": len(batch),
        "hand_ms": round(hand * 1e3, 2),
        "pipeline_ms": round(ours * 1e3, 2),
        "fit_ms": round(fitted * 1e3, 2),
        "pipeline_ratio": round(paired, 3),
    }


def against_lightly(stem: Literal["small", "imagenet"], batch: crl.View, rounds: int) -> dict[str, object]:
    """SimCLR with ResNet-18 by a pipeline, and by lightly's blocks: whole steps, and what of theirs is no views."""
    from lightly_blocks import step, transform
    from torchvision.transforms.v2.functional import to_pil_image

    torch.manual_seed(0)
    pipeline = crl.Pipeline(
        Augmented("simclr-small"), encoder=ResNet(18, stem), head=crl.MLP(128), score=crl.Cosine(TEMPERATURE),
        loss=crl.InfoNCE(),
    ).build(batch)  # fmt: skip
    ours, theirs = by_pipeline(pipeline), step(stem == "small", TEMPERATURE, torch.device("cpu"))
    views, pictures = transform(batch.data.shape[-1]), [to_pil_image(image) for image in batch.data]
    took: dict[str, list[float]] = {"pipeline": [], "lightly": [], "lightly_without_views": []}
    for i in range(rounds + 1):
        start = time.process_time()
        ours(batch)
        done = time.process_time()
        one, other = (torch.stack(side) for side in zip(*map(views, pictures), strict=True))
        viewed = time.process_time()
        theirs(one, other)
        end = time.process_time()
        if i:  # the first is to warm up
            for who, seconds in zip(took, (done - start, end - done, end - viewed), strict=True):
                took[who].append(seconds)
    medians = {who: statistics.median(seconds) for who, seconds in took.items()}
    return {
        "encoder": f"ResNet-18, {stem} stem, against lightly",
        "batch": len(batch),
        **{f"{who}_ms": round(median * 1e3, 1) for who, median in medians.items()},
        "pipeline_ratio": round(medians["pipeline"] / medians["lightly"], 3),
    }


def as_dict(training: crl.Training) -> dict[str, Any]:
    return {name: getattr(training, name) for name in ("epochs", "batch_size", "schedule")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [
        measure("ConvNet, grey 16×16", ConvNet(channels=1), batch_of(128, 1, 16), rounds=120),
        measure("ConvNet, colour 32×32", ConvNet(), batch_of(256, 3, 32), rounds=15),
        measure("ResNet-18, colour 32×32", ResNet(18, stem="small"), batch_of(64, 3, 32), rounds=7),
    ]
    if find_spec("lightly"):
        rows += [against_lightly(stem, batch_of(128, 3, 32), rounds=5) for stem in ("small", "imagenet")]
    show(rows, lambda row: ", ".join(f"{name} {value}" for name, value in row.items()), options.json)


if __name__ == "__main__":
    main()
