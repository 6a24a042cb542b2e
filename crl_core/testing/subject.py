"""Calls a part on its inputs, in the same way for all kinds that compute with tensors."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..contracts.parts import sees_all_queries
from ..data.pairs import Candidates, Scores, Summed
from ..data.view import Embeddings
from .outcome import Fails
from .plugin import Case
from .trees import as_double, tensors_in

QUERIES, KEYS, WIDTH = 8, 12, 8
PAIRS = 40  # for losses whose statistics need more rows than dimensions


def inputs_of(case: Case) -> tuple[Any, ...]:
    """The inputs of the part, the same every time: the example of its author, or random tables."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return _inputs_of(case)


def _inputs_of(case: Case) -> tuple[Any, ...]:
    match case.part.kind:
        case "sampler":
            return (case.raw(),)
        case "encoder":
            return (case.clean().data,)
        case "head":
            data = case.example(lambda: torch.randn(QUERIES, 2 * WIDTH))
            return (getattr(data, "data", data) if not isinstance(data, Tensor) else data,)
        case "score":
            return torch.randn(QUERIES, WIDTH), torch.randn(KEYS, WIDTH)
    match case.cls.takes:
        case "scores":
            return (closeness(QUERIES if sees_all_queries(case.cls) else KEYS),)
        case "pairs" | "batch":
            near = torch.randn(PAIRS, WIDTH)
            return near, near + 0.5 * torch.randn(PAIRS, WIDTH)
        case "embeddings":
            table: Embeddings = case.example(lambda: Embeddings(torch.randn(QUERIES, WIDTH)))
            return (table,)
    raise Fails(f"takes is 'scores', 'pairs', 'batch' or 'embeddings', not {case.cls.takes!r}")


def arguments(case: Case, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments for a call of the part: for a loss on scores, a matrix with its positives."""
    if case.part.kind == "loss" and case.cls.takes == "scores":
        return (scores(inputs[0], itself=sees_all_queries(case.cls)),)
    return inputs


def outputs(case: Case, call: Callable[..., Any], inputs: tuple[Any, ...]) -> list[Tensor]:
    """All tensors that it returns; for a `Summed`, the values."""
    found = call(*arguments(case, inputs))
    return [found.value] if isinstance(found, Summed) else list(tensors_in(found))


def floating(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor.is_floating_point()]


def closeness(keys: int = KEYS) -> Tensor:
    """Scores `[N, M]` that are also negative distances; most positives are slightly closer."""
    return torch.where(positives(keys=keys), -3.0, -4.0) - 4 * torch.rand(QUERIES, keys)


def positives(queries: int = QUERIES, keys: int = KEYS, like: Tensor | None = None) -> Tensor:
    """Which pairs are positive: one key for the even queries, two for the odd ones."""
    device = None if like is None else like.device
    row, column = torch.arange(queries, device=device).unsqueeze(1), torch.arange(keys, device=device)
    return (column == row % keys) | ((column == (row + 1) % keys) & (row % 2 == 1))


def scores(values: Tensor, positive: Tensor | None = None, itself: bool = False) -> Scores:
    """A matrix of scores for a loss, with the log-probabilities of keys that were drawn uniformly."""
    positive = positives(values.shape[0], values.shape[1], values) if positive is None else positive
    noise = values.new_full(values.shape, -math.log(max(1, values.shape[1])))
    return Scores(Candidates(values, positive), Candidates(values, ~positive), noise, itself)


def built(case: Case, seed: int = 0) -> nn.Module:
    """A new instance with its lazy layers made, in evaluation mode."""
    part: nn.Module = case.make(seed)
    if not isinstance(part, nn.Module):
        raise Fails(f"it is an nn.Module, not a {type(part).__name__}")
    with torch.no_grad(), torch.random.fork_rng([]):
        torch.manual_seed(seed)
        outputs(case, part.eval(), inputs_of(case))
    return part


def with_weights(part: nn.Module, weights: Mapping[str, Tensor]) -> Callable[..., Any]:
    """A function that calls the part with other weights."""
    return partial(_call, part, dict(weights))


def _call(part: nn.Module, weights: dict[str, Tensor], *inputs: Any) -> Any:
    return functional_call(part, weights, inputs)


def in_double(case: Case) -> tuple[nn.Module, tuple[Any, ...]]:
    """The part and its inputs in float64."""
    return copy.deepcopy(built(case)).double(), tuple(as_double(x) for x in inputs_of(case))
