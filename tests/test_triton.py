"""The Triton body: its kernels in a process of their own, and what needs no kernel."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kernels import RELATIONS
from torch import Tensor

from crl_core import L2, Cosine, Drawn, Embeddings, InfoNCE, Pairs, Relation, Scores, parse, same
from crl_core.contracts.kernels import Problem
from crl_core.kernels import triton_relations
from crl_core.kernels.triton_block import Block, Reduced
from crl_core.kernels.triton_body import Triton
from crl_core.kernels.triton_plan import plan_of
from crl_core.parts.losses.hard_negatives import HardNegatives
from crl_core.registry.kernels import choose_kernel

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


@needs_triton
def test_the_kernels_agree_with_the_oracle() -> None:
    """On the device where there is one, otherwise by the interpreter, for which Triton must not be imported yet."""
    more = {} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "tests/interpreted_triton.py"],
        env={**os.environ, **more}, cwd=HERE.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]


# -- relations as programs -------------------------------------------------------------------------


def holds(relation: Relation, query: dict[str, Tensor], key: dict[str, Tensor]) -> Tensor:
    """What a kernel makes of it, `[N, M]`."""
    made = triton_relations.programs(relation, ~relation, query, key)
    order = triton_relations.ordered(made.atoms, query, key)
    rank = order.rank.unsqueeze(1)
    facts = (rank >= order.low.unsqueeze(2)) & (rank < order.high.unsqueeze(2))
    stack: list[Tensor] = []
    for word in made.positive:
        if word >= 0:
            stack.append(facts[word])
        elif word == triton_relations.NOT:
            stack.append(~stack.pop())
        else:
            one, other = stack.pop(), stack.pop()
            stack.append(one & other if word == triton_relations.AND else one | other)
    (found,) = stack
    return found


def columns(count: int, fractional: bool) -> dict[str, Tensor]:
    time = torch.randint(-2, 9, (count,))
    if fractional:
        time = (time / 10).masked_fill(torch.rand(count) < 0.2, torch.nan)
    return {
        "label": torch.randint(-1, 3, (count,), dtype=torch.int32), "instance": torch.randint(-1, 5, (count,)),
        "row": torch.randint(0, 30, (count,)), "batch": torch.ones(count, dtype=torch.int64),
        "nothing": torch.full((count,), -1), "time": time, "weight": torch.randn(count).round(),
    }  # fmt: skip


MORE = ['within("time", 0.2)', 'beyond("time", 0.3) | same("weight")', '~beyond("time", 2.5)', '~(same("time"))']


@settings(deadline=None, max_examples=150, derandomize=True)
@given(
    seed=st.integers(0, 10_000), count=st.integers(1, 9), width=st.integers(1, 9), fractional=st.booleans(),
    text=st.sampled_from([text for pair in RELATIONS for text in pair] + MORE),
)  # fmt: skip
def test_a_program_is_the_relation(seed: int, count: int, width: int, fractional: bool, text: str) -> None:
    torch.manual_seed(seed)
    query, key = columns(count, fractional), columns(width, fractional and seed % 2 == 0)
    relation = parse(text)
    expected = relation({name: column.unsqueeze(1) for name, column in query.items()}, key)
    assert torch.equal(holds(relation, query, key), expected)
    assert torch.equal(holds(relation, key, query), expected.T)


# -- reasons ---------------------------------------------------------------------------------------


def problem(loss: Callable[[Scores], Tensor], dtype: torch.dtype = torch.float32, **others: object) -> Problem:
    table = Embeddings(torch.randn(6, 4, dtype=dtype), {"instance": torch.arange(6), "label": torch.arange(6) % 2})
    pairs = Pairs(table, (table,), same("instance"), ~same("instance"))
    return Problem(pairs, Cosine(), loss)._replace(**others)  # type: ignore[arg-type]


def test_without_a_device_it_says_so_and_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    (reason,) = Triton().unsupported(problem(InfoNCE()))
    assert re.search(r"\bcpu\b", reason)
    assert not isinstance(choose_kernel("auto", problem(InfoNCE())), Triton)
    monkeypatch.setattr("crl_core.kernels.triton_body._installed", lambda: False)
    assert any("installed" in reason for reason in Triton().unsupported(problem(InfoNCE())))


def test_importing_it_imports_no_triton() -> None:
    code = "import sys, crl_core.kernels.triton_body; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


MARGIN = torch.tensor(0.0, requires_grad=True)
REASONS: list[tuple[Problem, str]] = [
    (problem(InfoNCE("each")), "positive.sum"),
    (problem(lambda s: s.negative.max()), "negative.max"),
    (problem(lambda s: s.negative.sum(torch.relu)), "softplus"),
    (problem(lambda s: s.negative.sum(lambda x: F.softplus(x + MARGIN))), "softplus"),
    (problem(lambda s: s.negative.logsumexp(MARGIN.exp())), "tensor"),  # type: ignore[arg-type]
    (problem(InfoNCE(), torch.float64), "float64"),
    (problem(InfoNCE(), score=L2()), "L2"),
    (problem(torch.nn.BatchNorm1d(2)), "BatchNorm1d"),
]


@needs_triton
@pytest.mark.parametrize(("given", "reason"), REASONS, ids=[reason for _, reason in REASONS])
def test_reasons(given: Problem, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    (found,) = Triton().unsupported(given)
    assert reason in found


@needs_triton
def test_reasons_in_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    given = problem(InfoNCE())
    many = parse(" | ".join(f'within("label", {i})' for i in range(9)))
    assert "at most 8" in Triton().unsupported(given._replace(pairs=given.pairs.__class__(
        given.pairs.query, given.pairs.keys, many, ~many)))[0]  # fmt: skip
    soft = parse('same("label") & near("instance", 2)')
    assert "same, within and beyond" in Triton().unsupported(given._replace(pairs=given.pairs.__class__(
        given.pairs.query, given.pairs.keys, soft, ~soft)))[0]  # fmt: skip
    drawn = given._replace(pairs=Drawn(2).choose(given.pairs))
    assert "per query" in Triton().unsupported(drawn)[0]


# -- compiled, without a device --------------------------------------------------------------------


class Compiled:
    """A kernel that is compiled for an H100 with the arguments of a launch, and not launched."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def compile_it(*inputs: Any, **options: Any) -> None:
            found = self.kernel.warmup(*inputs, grid=grid, **options)
            assert found.metadata.shared <= 227 * 1024
            assert "wgmma" in found.asm["ptx"]

        return compile_it


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize(("dtype", "width"), [("bfloat16", 512), ("bfloat16", 768), ("float32", 128)])
def test_the_kernels_compile_for_an_h100_and_fit(
    dtype: str, width: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With no device at hand, this is what can be known of the code for one."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    from crl_core.kernels import triton_kernels

    device = SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", 90, 32),
        get_current_device=lambda: 0,
        get_current_stream=lambda _: 0,
    )
    for name in ("reduce", "push"):
        monkeypatch.setattr(triton_kernels, name, Compiled(getattr(triton_kernels, name)))
    given = problem(HardNegatives())
    block = Block(given.pairs, given.pairs.keys[0], plan_of(given.loss, given.pairs.query.z), "tf32x3")
    table = torch.zeros(6, width, dtype=getattr(torch, dtype))
    monkeypatch.setattr(driver, "_active", device)
    reduced = block.reduce(table, table, turned=False)[0]
    block.push(table, table, Reduced(reduced, reduced), Reduced(reduced, reduced), turned=True)
