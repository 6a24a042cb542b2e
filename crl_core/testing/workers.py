"""Checks that need other processes: sends parts to a worker, and runs a loss on two processes with different data.

Run as a program, this file is one of the processes.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..contracts.parts import sees_all_queries
from ..data.relation import same
from ..data.view import Embeddings
from ..method.contrast import Contrast
from ..parts.scores.cosine import Cosine
from ..parts.scores.l2 import L2
from ..registry import Known
from .importing import last_line, start

SECONDS = 180.0
SHARES = ((0, 16), (16, 40))  # the rows of each of the two processes
Tensors = dict[str, Tensor]


class Sendable(Protocol):
    """A part under test."""

    @property
    def part(self) -> Known: ...

    @property
    def cls(self) -> Any: ...

    def make(self) -> Any: ...


class Worked(NamedTuple):
    """The results of one part in the workers."""

    sent: str | None = None
    """Why it could not be sent to a worker; None if it arrived."""
    gradients: tuple[Tensors, Tensors] | str | None = None
    """A loss's gradients on each of the two processes, or why there are none."""


def work(cases: Mapping[str, Sendable]) -> dict[str, Worked]:
    """Sends all parts to a worker, and runs the losses on two processes."""
    packed: dict[str, bytes] = {}
    found: dict[str, Worked] = {}
    for label, case in cases.items():
        try:
            packed[label] = pickle.dumps(_sent(case))
        except Exception as error:
            found[label] = Worked(f"{type(error).__name__}: {error}", "it can't be sent to a worker")
    losses = [label for label in packed if contrasts(cases[label])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i, data in enumerate(packed.values()):
            (folder / f"{i}.pickle").write_bytes(data)
        jobs = {"labels": list(packed), "losses": losses}
        (folder / "jobs.json").write_text(json.dumps(jobs))
        ended = _run(folder, 2 if losses else 1)
        for i, label in enumerate(packed):
            found[label] = Worked(
                _text(folder / f"{i}.sent", ended), _gradients(folder, i) if label in losses else None
            )
    return found


def _sent(case: Sendable) -> Any:
    """The data for a worker: the part, and for a source its items, as in a `DataLoader`."""
    part = case.cls if case.part.kind == "recipe" else case.make()
    if case.part.kind != "source":
        return part
    try:
        return part, part.items(part.splits[0])
    except Exception:  # the checks of sources report this
        return part


def contrasts(case: Sendable) -> bool:
    """Whether it is a loss for a contrast, which sees the rows of all processes."""
    return case.part.kind == "loss" and getattr(case.cls, "takes", None) in ("scores", "pairs", "batch")


def _run(folder: Path, processes: int) -> str:
    """Runs the workers to their end, and returns how the first one ended."""
    running = [start(__name__, str(folder), str(rank), str(processes)) for rank in range(processes)]
    said = ""
    for process in running:
        try:
            _, text = process.communicate(timeout=SECONDS)
            said = said or (last_line(text) if process.returncode else "")
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            said = said or f"not done after {SECONDS:.0f} s"
    return said


def _text(path: Path, ended: str) -> str | None:
    if not path.exists():
        return f"the worker ended before it arrived: {ended}"
    return path.read_text() or None


def _gradients(folder: Path, i: int) -> tuple[Tensors, Tensors] | str:
    for rank in range(2):
        if (error := folder / f"{i}.{rank}.error").exists():
            return error.read_text()
    try:
        return load_file(folder / f"{i}.0.safetensors"), load_file(folder / f"{i}.1.safetensors")
    except OSError:
        return "a process ended before it was done"


def loss_and_gradients(module: nn.Module, share: tuple[int, int]) -> Tensors:
    """The loss of a contrast with this share of forty rows, and the gradients with respect to rows and weights."""
    generator = torch.Generator().manual_seed(7)
    whole = [torch.randn(SHARES[-1][-1], 8, generator=generator, dtype=torch.float64) for _ in range(2)]
    rows = slice(*share)
    leaves = [table[rows].clone().requires_grad_() for table in whole]
    number = torch.arange(SHARES[-1][-1])
    columns = {"instance": number[rows], "label": number[rows] % 16, "row": number[rows]}
    loss: Any = module.double()
    # Several positives per query; for a loss on pairs, one per row.
    positive = same("label") if loss.takes == "scores" else same("instance")
    key = "key"
    if sees_all_queries(loss):
        key, positive = "query", same("label") & ~same("row")
    score = L2() if getattr(loss, "wants", None) == "distance" else Cosine(0.3)
    contrast = Contrast("query", key, score=score, loss=loss, positive=positive)
    torch.manual_seed(0)
    term = contrast({name: Embeddings(z, columns) for name, z in zip(("query", "key"), leaves, strict=True)})
    weights = dict(loss.named_parameters())
    term.value.backward()
    named = {"query": leaves[0], "key": leaves[1], **weights}
    found = {name: torch.zeros_like(x) if x.grad is None else x.grad for name, x in named.items()}
    return {"loss": term.value.detach(), **found}


# -- in a worker -------------------------------------------------------------------------------------


def main(folder: Path, rank: int, processes: int) -> None:
    torch.set_num_threads(1)
    jobs = json.loads((folder / "jobs.json").read_text())
    if processes > 1:
        where = (folder / "meeting").as_uri()
        wait = timedelta(seconds=SECONDS / 3)
        dist.init_process_group("gloo", init_method=where, rank=rank, world_size=processes, timeout=wait)
    arrived = [_arrived(folder / f"{i}.pickle") for i in range(len(jobs["labels"]))]
    if rank == 0:
        for i, part in enumerate(arrived):
            (folder / f"{i}.sent").write_text(part if isinstance(part, str) else "")
    for i, label in enumerate(jobs["labels"]):
        if label in jobs["losses"] and not isinstance(arrived[i], str):
            try:
                save_file(loss_and_gradients(arrived[i], SHARES[rank]), folder / f"{i}.{rank}.safetensors")
            except Exception as error:
                (folder / f"{i}.{rank}.error").write_text(f"{type(error).__name__}: {error}")


def _arrived(path: Path) -> Any:
    """The object that was sent; or, as text, why it can't be unpickled."""
    try:
        return pickle.loads(path.read_bytes())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
