from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec

import torch

from ..contracts.kernels import Outcome, Problem
from .factors import factors, no_product
from .formula import Unavailable
from .triton_plan import plan_of
from .triton_relations import Unprogrammable, programs
from .triton_sweep import Sweep

_TYPES = (torch.float32, torch.bfloat16, torch.float16)


class Triton:
    """Two CUDA programs that keep scores in registers: for losses made of log-sum-exp, means, counts and softplus.

    Memory grows with N + M; relations are evaluated in the tile, so any number of positives will do. Products are in
    bfloat16 or TF32: a single product if torch may round to that (`torch.set_float32_matmul_precision`), otherwise
    three, which are about as accurate as float32. Sums are in float32. A loss may use `logsumexp`, with any scale,
    `mean`, `count`, `sum()`, and `sum` of softplus(s) or softplus(-s), of positives and of negatives.

    >>> import torch
    >>> import crl_core as crl
    >>> rows = crl.Embeddings(torch.randn(6, 4), {"label": torch.tensor([0, 0, 1, 1, 2, 3])})
    >>> pairs = crl.Pairs(rows, (rows,), crl.same("label"), ~crl.same("label"))
    >>> crl.make("kernel", "triton").unsupported(crl.Problem(pairs, crl.Dot(), crl.InfoNCE()))[-1]
    'the tensors are on cpu'
    """

    def unsupported(self, problem: Problem) -> list[str]:
        return list(_of_device(problem)) or list(_of_problem(problem))

    def preference(self, problem: Problem) -> float:
        return 3.0

    def __call__(self, problem: Problem) -> Outcome:
        query, keys = factors(problem)
        return Outcome(*Sweep.apply(problem.pairs, problem.loss, problem.symmetric, query, *keys))


def _of_device(problem: Problem) -> Iterator[str]:
    if not _installed():
        yield "triton is not installed"
    device = problem.pairs.query.z.device
    if device.type != "cuda":
        # Triton's interpreter takes tensors on the CPU; slowly, for tests.
        if device.type != "cpu" or os.environ.get("TRITON_INTERPRET") != "1":
            yield f"the tensors are on {device.type}"
    elif torch.cuda.get_device_capability(device) < (8, 0):
        yield "the device has no bfloat16 and TF32 (compute capability 8.0)"


@cache
def _installed() -> bool:
    return find_spec("triton") is not None


def _of_problem(problem: Problem) -> Iterator[str]:
    pairs = problem.pairs
    yield from no_product(problem)
    types = {block.z.dtype for block in (pairs.query, *pairs.keys)} - set(_TYPES)
    if types:
        yield f"the embeddings are {', '.join(map(_name, types))}, and sums would be in float32"
    yield from _of_formula(problem)
    if not pairs.per_query:
        yield from _of_relations(problem)


def _of_formula(problem: Problem) -> Iterator[str]:
    try:
        plan_of(problem.loss, problem.pairs.query.z)
    except Unavailable as reason:
        yield str(reason)


def _of_relations(problem: Problem) -> Iterator[str]:
    pairs = problem.pairs
    try:
        for block in pairs.keys:
            programs(pairs.positive, pairs.negative, pairs.query.meta, block.meta)
    except Unprogrammable as reason:
        yield str(reason)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
