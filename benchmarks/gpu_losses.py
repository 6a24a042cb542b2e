"""Losses on a GPU at large batches: forward and backward, from raw embeddings to their gradients.

    python benchmarks/gpu_losses.py [--batch 4096 … 262144] [--loss NAME …] [--kernel NAME …] [--json]

Each row has the best of several rounds, the peak of memory above the inputs, and the share of the rate of matrix
products, measured beforehand in the same type: the time that three products of the size of all scores would take,
which a loss with the whole matrix can't do without, over the time taken. What a kernel computes twice counts once.
`off` is the largest error of the losses of some queries against float64 on the same embeddings.

Beside our kernels by name, `plain`, `compiled` (torch.compile of it) and `open_clip`, where it is installed; these
have all scores in memory, and are left out where there is no room. Without a GPU, `--device cpu --kernel blockwise`
tries the script out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import plain_losses
import torch
import torch.nn.functional as F
from plain_losses import TEMPERATURE
from rows import show
from torch import Tensor

from crl_core import Cosine, Embeddings, InfoNCE, Pairs, Problem, choose_kernel, same

SAMPLE = 32  # queries whose losses are compared
PEERS = ("plain", "compiled", "open_clip")
TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
# Scores of all pairs in the loss's own type and in float32, their softmax, and their gradient.
BYTES_A_SCORE = 16

Loss = Callable[[Tensor, Tensor], Tensor]


# -- the losses ------------------------------------------------------------------------------------


def one_direction(a: Tensor, b: Tensor) -> Problem:
    index = {"instance": torch.arange(len(a), device=a.device)}
    pairs = Pairs(Embeddings(a, index), (Embeddings(b, index),), same("instance"), ~same("instance"))
    return Problem(pairs, Cosine(TEMPERATURE), InfoNCE())


def symmetric(a: Tensor, b: Tensor) -> Problem:
    return one_direction(a, b)._replace(symmetric=True)


def nt_xent(a: Tensor, b: Tensor) -> Problem:
    z, row = torch.cat([a, b]), torch.arange(2 * len(a), device=a.device)
    table = Embeddings(z, {"instance": row % len(a), "row": row})
    pairs = Pairs(table, (table,), same("instance") & ~same("row"), ~same("instance"))
    return Problem(pairs, Cosine(TEMPERATURE), InfoNCE())


class Case(NamedTuple):
    problem: Callable[[Tensor, Tensor], Problem]
    plain: Loss
    tables: int
    """Of how many tables one above the other the queries are."""


CASES = {
    "one-direction": Case(one_direction, plain_losses.one_direction, 1),
    "symmetric": Case(symmetric, plain_losses.symmetric, 1),
    "nt-xent": Case(nt_xent, plain_losses.nt_xent, 2),
}


def body(case: Case, kernel: str) -> Loss:
    def run(a: Tensor, b: Tensor) -> Tensor:
        problem = case.problem(a, b)
        outcome = choose_kernel(kernel, problem)(problem)
        return outcome.total / outcome.counted.sum()

    return run


def peer(name: str, loss: str) -> Loss | None:
    """Another body of the loss; None where there is none here."""
    if name == "plain":
        return CASES[loss].plain
    if name == "compiled":
        return torch.compile(CASES[loss].plain, dynamic=False)
    if loss != "symmetric":
        return None
    try:
        from open_clip.loss import ClipLoss
    except ImportError:
        return None
    made = ClipLoss()
    return lambda a, b: made(F.normalize(a, dim=1), F.normalize(b, dim=1), torch.tensor(1 / TEMPERATURE).to(a))


# -- measuring -------------------------------------------------------------------------------------


class Device:
    def __init__(self, name: str) -> None:
        self.device = torch.device(name)
        self.cuda = self.device.type == "cuda"

    def __str__(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.cuda else "cpu"

    def leaves(self, batch: int, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        generator = torch.Generator(self.device).manual_seed(0)
        a, b = (torch.randn(batch, width, generator=generator, device=self.device) for _ in range(2))
        return a.to(dtype).requires_grad_(), (a + b).to(dtype).requires_grad_()

    def seconds(self, run: Callable[[], Any], rounds: int) -> float:
        """The best of some rounds, after one that compiles."""
        best = float("inf")
        for number in range(rounds + 1):
            self.wait()
            start = time.perf_counter()
            run()
            self.wait()
            if number:
                best = min(best, time.perf_counter() - start)
        return best

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def gigabytes(self, run: Callable[[], Any]) -> float | None:
        """The peak of memory above what is there before."""
        if not self.cuda:
            return None
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        run()
        self.wait()
        return (torch.cuda.max_memory_allocated(self.device) - before) / 1e9

    def has_room(self, scores: int) -> bool:
        free = torch.cuda.mem_get_info(self.device)[0] if self.cuda else 4e9
        return scores * BYTES_A_SCORE < free

    def product_rate(self, dtype: torch.dtype) -> float:
        """Operations a second of a square matrix product."""
        size = 8192 if self.cuda else 1024
        one, other = (torch.randn(size, size, device=self.device).to(dtype) for _ in range(2))
        return 2 * size**3 / self.seconds(lambda: one @ other, 10)


def gradients(loss: Loss, a: Tensor, b: Tensor) -> None:
    a.grad = b.grad = None
    loss(a, b).backward()


def off(case: Case, kernel: str, a: Tensor, b: Tensor) -> float:
    """The largest error of some queries' losses."""
    with torch.no_grad():
        problem = case.problem(a, b)
        found = choose_kernel(kernel, problem)(problem).values[: case.tables * len(a)]
        rows = torch.linspace(0, len(found) - 1, SAMPLE, device=a.device).long()
        key, query = problem.pairs.key, problem.pairs.query.z[rows].double()
        scores = torch.cat([_cosines(query, part) for part in key.split(1 << 14)], 1) / TEMPERATURE
        target = rows if case.tables == 1 else (rows + len(a)) % len(key)
        if case.tables == 2:
            scores[torch.arange(SAMPLE), rows] = float("-inf")
        exact = F.cross_entropy(scores, target, reduction="none")
    return float((found[rows] - exact).abs().max())


def _cosines(query: Tensor, key: Tensor) -> Tensor:
    return F.normalize(query, dim=1) @ F.normalize(key.double(), dim=1).T


def measured(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    device, dtype = Device(options.device), TYPES[options.dtype]
    rate = device.product_rate(dtype)
    for name in options.loss:
        case = CASES[name]
        for batch in options.batch:
            for kernel in options.kernel:
                count = case.tables * batch
                loss = peer(kernel, name) if kernel in PEERS else body(case, kernel)
                if loss is None or (kernel in (*PEERS, "dense") and not device.has_room(count**2)):
                    continue
                a, b = device.leaves(batch, options.width, dtype)
                seconds = device.seconds(lambda: gradients(loss, a, b), options.rounds)  # noqa: B023
                a.grad = b.grad = None
                room = device.gigabytes(lambda: gradients(loss, a, b))  # noqa: B023
                yield {
                    "device": str(device), "loss": name, "kernel": kernel, "batch": batch, "width": options.width,
                    "dtype": options.dtype, "seconds": seconds, "peak_memory_gb": room,
                    "share_of_matmul_rate": 6 * count**2 * options.width / seconds / rate,
                    "matmul_tflops": rate / 1e12, "off": None if kernel in PEERS else off(case, kernel, a, b),
                }  # fmt: skip


def line(row: dict[str, Any]) -> str:
    text = f"{row['loss']:<14} {row['kernel']:<10} {row['batch']:>7} × {row['width']} {row['dtype']}"
    text += f" {row['seconds'] * 1e3:10.2f} ms {row['share_of_matmul_rate']:7.1%} of {row['matmul_tflops']:.3g} TFLOP/s"
    text += "" if row["peak_memory_gb"] is None else f" {row['peak_memory_gb']:7.2f} GB"
    return text if row["off"] is None else f"{text}, off by {row['off']:.0e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cuda = torch.cuda.is_available()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--batch", type=int, nargs="+", default=[4096, 16_384, 65_536, 262_144] if cuda else [512])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--dtype", choices=TYPES, default="bf16" if cuda else "fp32")
    parser.add_argument("--loss", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--kernel", nargs="+", default=["triton", "blockwise", *PEERS] if cuda else ["blockwise"])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    show(measured(options), line, options.json)


if __name__ == "__main__":
    main()
