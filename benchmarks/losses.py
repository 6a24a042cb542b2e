"""Losses against those of other libraries: forward and backward, from raw embeddings to their gradients.

    python benchmarks/losses.py [--json] [--batch 1024 4096] [--loss NAME …]

CPU seconds of one thread, our loss and its peer in turn, the best of several rounds; memory is the peak of
resident pages above the inputs, in a process of its own; values and gradients are compared as well. A peer
that isn't installed is left out: pip install lightly pytorch-metric-learning open_clip_torch sentence-transformers
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import plain_losses
import torch
import torch.nn.functional as F
from plain_losses import TEMPERATURE
from rows import show
from torch import Tensor

import crl_core as crl
from crl_core import Cosine, Embeddings, InfoNCE, Pairs, Problem, Relation, choose_kernel, same

WIDTH, CLASS = 128, 16
_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
PATIENCE = 20.0  # seconds of two losses in turn, after which nothing more is tried
Loss = Callable[[Tensor, Tensor], Tensor]


# -- ours ------------------------------------------------------------------------------------------


def contrast(query: Embeddings, key: Embeddings, score: Any, loss: Any, positive: Relation, negative: Relation,
             *memory: Embeddings, symmetric: bool = False) -> Tensor:  # fmt: skip
    problem = Problem(Pairs(query, (key, *memory), positive, negative), score, loss, symmetric)
    outcome = choose_kernel("auto", problem)(problem)
    return outcome.total / outcome.terms.sum()


def table(z: Tensor, **columns: Tensor) -> Embeddings:
    return Embeddings(z, {"instance": torch.arange(len(z)), **columns})


# Made once, as the peers' losses are.
COSINE, INFO_NCE = Cosine(TEMPERATURE), InfoNCE()
SIGLIP_SCORE, SIGMOID = Cosine(TEMPERATURE, bias=-10.0), crl.Sigmoid()
PAIR, OTHERS = same("instance"), ~same("instance")
FELLOWS, STRANGERS = same("label") & ~same("row"), ~same("label")
VIEW, OTHER_ROWS = PAIR & ~same("row"), OTHERS & ~same("row")


def one_direction(a: Tensor, b: Tensor) -> Tensor:
    return contrast(table(a), table(b), COSINE, INFO_NCE, PAIR, OTHERS)


def symmetric(a: Tensor, b: Tensor) -> Tensor:
    return contrast(table(a), table(b), COSINE, INFO_NCE, PAIR, OTHERS, symmetric=True)


def nt_xent(a: Tensor, b: Tensor) -> Tensor:
    z = torch.cat([a, b])
    rows = Embeddings(z, {"instance": torch.arange(len(z)) % len(a), "row": torch.arange(len(z))})
    return contrast(rows, rows, COSINE, INFO_NCE, VIEW, OTHER_ROWS)


def by_class(loss: Any, score: Any = None) -> Loss:
    def run(a: Tensor, _: Tensor) -> Tensor:
        rows = Embeddings(a, {"label": labels(a), "row": torch.arange(len(a))})
        return contrast(rows, rows, score or COSINE, loss, FELLOWS, STRANGERS)

    return run


def siglip(a: Tensor, b: Tensor) -> Tensor:
    return contrast(table(a), table(b), SIGLIP_SCORE, SIGMOID, PAIR, OTHERS)


QUEUE = 65_536
_QUEUED = F.normalize(torch.randn(QUEUE, WIDTH), dim=1)


def queued(a: Tensor, b: Tensor) -> Tensor:
    held = Embeddings(_QUEUED, {"instance": torch.arange(QUEUE) + len(a), "batch": torch.ones(QUEUE)})
    now = torch.zeros(len(a))
    positive, negative = same("instance") & same("batch"), ~same("instance") & ~same("batch")
    return contrast(table(a, batch=now), table(b.detach(), batch=now), COSINE, INFO_NCE, positive, negative, held)


def labels(a: Tensor) -> Tensor:
    return torch.arange(len(a)) // CLASS


# -- theirs ----------------------------------------------------------------------------------------


def lightly_nt_xent() -> Loss:
    from lightly.loss import NTXentLoss

    return NTXentLoss(TEMPERATURE)


def lightly_queue() -> Loss:
    from lightly.loss import NTXentLoss

    loss = NTXentLoss(TEMPERATURE, memory_bank_size=(QUEUE, WIDTH))
    loss.memory_bank.bank = _QUEUED.clone()

    def run(a: Tensor, b: Tensor) -> Tensor:
        return loss(a, b.detach())

    return run


def pml_nt_xent() -> Loss:
    from pytorch_metric_learning.losses import SelfSupervisedLoss, SupConLoss

    return SelfSupervisedLoss(SupConLoss(TEMPERATURE))


def pml(loss: str, miner: str | None = None, **options: Any) -> Callable[[], Loss]:
    def make() -> Loss:
        from pytorch_metric_learning import distances, losses, miners

        if options.pop("cosine", False):
            options["distance"] = distances.CosineSimilarity()
        made = getattr(losses, loss)(**options)
        mine = getattr(miners, miner)(distance=options["distance"]) if miner else None
        return lambda a, _: made(a, labels(a), mine(a, labels(a)) if mine else None)

    return make


def open_clip_loss(name: str, *scale: float) -> Callable[[], Loss]:
    def make() -> Loss:
        from open_clip import loss as losses

        made = getattr(losses, name)()
        return lambda a, b: made(F.normalize(a, dim=1), F.normalize(b, dim=1), *map(torch.tensor, scale))

    return make


def cached_mnrl() -> Loss:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.losses import CachedMultipleNegativesRankingLoss
    from torch import nn

    model = SentenceTransformer(modules=[nn.Identity()])
    made = CachedMultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)
    return lambda a, b: made.calculate_loss([[a], [b]])


def compiled(plain: Loss) -> Callable[[], Loss]:
    return lambda: torch.compile(plain, dynamic=False)


class Match(NamedTuple):
    """One of our losses and what it is compared with; `same` where both should give one value."""

    ours: Loss
    peer: str
    make: Callable[[], Loss]
    same: bool = True


HINGE = by_class(crl.Triplet(0.2), crl.L2())
LIFTED = by_class(crl.LiftedStructure(1.0), crl.L2())
MATCHES: dict[str, list[Match]] = {
    "nt-xent": [
        Match(nt_xent, "lightly NTXentLoss", lightly_nt_xent),
        Match(nt_xent, "pytorch-metric-learning SupConLoss", pml_nt_xent),
        Match(nt_xent, "torch.compile of the plain form", compiled(plain_losses.nt_xent)),
        Match(nt_xent, "plain torch", lambda: plain_losses.nt_xent),
    ],
    "symmetric": [
        Match(symmetric, "open_clip ClipLoss", open_clip_loss("ClipLoss", 1 / TEMPERATURE)),
        Match(symmetric, "torch.compile of the plain form", compiled(plain_losses.symmetric)),
        Match(symmetric, "plain torch", lambda: plain_losses.symmetric),
    ],
    "one-direction": [
        Match(one_direction, "F.cross_entropy", lambda: plain_losses.one_direction),
        Match(one_direction, "sentence-transformers cached MNRL", cached_mnrl),
        Match(one_direction, "torch.compile of the plain form", compiled(plain_losses.one_direction)),
    ],
    "sigmoid": [Match(siglip, "open_clip SigLipLoss", open_clip_loss("SigLipLoss", 1 / TEMPERATURE, -10.0))],
    "sup-con": [
        Match(by_class(InfoNCE()), "pytorch-metric-learning SupConLoss", pml("SupConLoss", temperature=TEMPERATURE))
    ],
    "queue": [Match(queued, "lightly NTXentLoss with bank", lightly_queue, same=False)],
    "batch-hard": [
        Match(
            by_class(crl.Triplet(0.2, mining="hard"), Cosine(1.0)),
            "pytorch-metric-learning BatchHardMiner",
            pml("TripletMarginLoss", "BatchHardMiner", margin=0.2, cosine=True),
            same=False,  # its mean is over the active ones
        )
    ],
    "all-triplets": [
        Match(
            lambda a, b: HINGE(F.normalize(a, dim=1), b),
            "pytorch-metric-learning TripletMarginLoss",
            pml("TripletMarginLoss", margin=0.2),
        )
    ],
    "lifted": [
        Match(
            lambda a, b: LIFTED(F.normalize(a, dim=1), b),
            "pytorch-metric-learning LiftedStructureLoss",
            pml("LiftedStructureLoss"),
        )
    ],
}  # fmt: skip


# Batches above which the peer, whose memory is cubic in the batch or worse, finds no room.
MOST = {"all-triplets": 1024, "lifted": 256}


# -- measuring -------------------------------------------------------------------------------------


def leaves(batch: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    a, b = torch.randn(2, batch, WIDTH)
    return a.requires_grad_(), (a.detach() + 0.5 * b).requires_grad_()


def step(loss: Loss, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    a.grad = b.grad = None
    return _stepped(loss, a, b)


def _stepped(loss: Loss, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    value = loss(a, b)
    value.backward()
    assert a.grad is not None
    return value.detach(), a.grad


def seconds(one: Loss, other: Loss, batch: int) -> tuple[float, float]:
    a, b = leaves(batch)
    best = [float("inf")] * 2
    rounds = max(3, min(60, int(3e7 / batch**2)))
    began = time.process_time()
    for number in range(rounds):
        if number and time.process_time() - began > PATIENCE:
            break
        for i, loss in enumerate((one, other)):
            start = time.process_time()
            step(loss, a, b)
            best[i] = min(best[i], time.process_time() - start)
    return best[0], best[1]


def megabytes(loss: Loss, batch: int, peer: str = "") -> float:
    """The peak of resident memory above the inputs, in a child process; NaN for what is compiled, with its threads."""
    if peer.startswith("torch.compile"):
        return float("nan")
    read, write = os.pipe()
    if os.fork() == 0:
        a, b = leaves(batch)
        step(loss, a[:8].detach().requires_grad_(), b[:8].detach().requires_grad_())
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 16)  # what is freed goes back at once, instead of when it is enough
        libc.malloc_trim(0)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # forgets the peak so far
        before = _status("VmRSS")
        step(loss, a, b)
        os.write(write, str(_status("VmHWM") - before).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        text = file.read()
    os.wait()
    return float(text) / 1024 if text else float("nan")


def _status(field: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field))


def difference(one: Loss, other: Loss) -> float:
    # In float64: in float32 most of what tells them apart is rounding, and not ours.
    a, b = (leaf.detach().double().requires_grad_() for leaf in leaves(64))
    (value, gradient), (value2, gradient2) = step(one, a, b), step(other, a, b)
    return max(float((value - value2).abs() / value2.abs()), float((gradient - gradient2).norm() / gradient2.norm()))


def measured(names: list[str], batches: list[int]) -> Iterator[dict[str, Any]]:
    matches = [(name, match) for name in names for match in MATCHES[name]]
    # What is compiled comes last: it starts threads, which a child process would wait for.
    for name, (ours, peer, make, equal) in sorted(matches, key=lambda match: match[1].peer.startswith("torch.compile")):
        try:
            theirs = make()
        except ImportError:
            continue
        error = difference(ours, theirs) if equal else None
        for batch in batches:
            if batch <= MOST.get(name, batch):
                mine, other = seconds(ours, theirs, batch)
                room, theirs_room = megabytes(ours, batch, peer), megabytes(theirs, batch, peer)
                yield {
                    "loss": name, "peer": peer, "batch": batch,
                    "time_ratio": round(mine / other, 6), "memory_ratio": known(room / theirs_room, 6),
                    "ours_ms": round(mine * 1e3, 2), "theirs_ms": round(other * 1e3, 2),
                    "ours_mb": known(room, 1), "theirs_mb": known(theirs_room, 1),
                    "difference": error,
                }  # fmt: skip


def known(value: float, digits: int) -> float | None:
    return None if math.isnan(value) else round(value, digits)


def line(row: dict[str, Any]) -> str:
    text = f"{row['loss']:<14} {row['batch']:>6}  {row['ours_ms']:>9} ms; {row['peer']:<36}"
    text += f" {1 / row['time_ratio']:6.2f} x the time"
    if row["memory_ratio"]:
        text += f", {1 / row['memory_ratio']:6.1f} x the memory ({row['theirs_mb']} MB)"
    return text if row["difference"] is None else f"{text}, apart by {row['difference']:.0e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--batch", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--loss", nargs="+", choices=MATCHES, default=list(MATCHES))
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    show(measured(options.loss, options.batch), line, options.json)


if __name__ == "__main__":
    main()
