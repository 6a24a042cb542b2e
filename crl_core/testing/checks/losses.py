"""Checks of losses."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ...contracts.parts import sees_all_queries
from ...data.pairs import Candidates, Scores, Summed
from ...data.relation import same
from ...data.view import Embeddings
from ...method.contrast import Contrast
from ...method.objective import Penalty
from ...parts.keys.drawn import Drawn
from ...parts.scores.cosine import Cosine
from ...parts.scores.l2 import L2
from ...registry import known, make
from ...registry.plugins import CORE
from ..outcome import Fails, Skips, expect, finite, same_numbers
from ..plugin import Case
from ..subject import PAIRS, QUERIES, WIDTH, arguments, built, in_double, inputs_of, outputs, positives, scores
from ..trees import cut
from ..workers import SHARES, contrasts, loss_and_gradients
from .problems import agree, problems

LOWEST = 0.005  # temperature


def values_have_the_right_shape(case: Case) -> None:
    """It returns one finite value per query or pair; for a batch or embeddings, a single one."""
    loss, inputs = in_double(case)
    found = loss(*arguments(case, inputs))
    wanted = (len(inputs[0]),) if case.cls.takes in ("scores", "pairs") else ()
    values = _values(found)
    expect(values.shape == wanted, f"it returns {list(values.shape)}, expected {list(wanted)}")
    if isinstance(found, Summed):
        expect(found.terms.shape == wanted, f"its terms are {list(found.terms.shape)}, expected {list(wanted)}")
    finite([values], "its values")


def order_does_not_matter(case: Case) -> None:
    """Queries in another order get the same values; keys in another order change nothing."""
    loss, inputs = in_double(case)
    (whole,) = outputs(case, loss, inputs)
    if not torch.equal(outputs(case, loss, inputs)[0], whole):
        raise Skips("it is random, and draws other numbers for another order")
    count = len(inputs[0])
    rows = torch.randperm(count)
    wanted = whole[rows] if whole.dim() else whole
    if case.cls.takes != "scores":
        turned = tuple(cut(x, rows.tolist(), count) for x in inputs)
        same_numbers(outputs(case, loss, turned)[0], wanted, "rows in another order")
        return
    values, positive = inputs[0], positives(*inputs[0].shape)
    columns = torch.randperm(values.shape[1])
    if sees_all_queries(case.cls):
        found = loss(scores(values[rows][:, rows], positive[rows][:, rows], itself=True))
        same_numbers(_values(found), wanted, "queries, which are the keys, in another order")
        return
    same_numbers(_values(loss(scores(values[rows], positive[rows]))), wanted, "queries in another order")
    same_numbers(_values(loss(scores(values[:, columns], positive[:, columns]))), whole, "keys in another order")


def rows_depend_on_nothing_else(case: Case) -> None:
    """The value of a query depends on its own scores alone."""
    if case.cls.takes != "scores":
        raise Skips(f"a loss that takes {case.cls.takes} may use all rows")
    if sees_all_queries(case.cls):
        raise Skips("it has `sees_all_queries`")
    loss, (values,) = in_double(case)
    whole, positive = _values(loss(scores(values))), positives()
    for rows in ([0, 1, 2], [6, 3], [5]):
        found = _values(loss(scores(values[rows], positive[rows])))
        same_numbers(found, whole[rows], f"queries {rows} of {QUERIES} alone")


def prefers_close_positives(case: Case) -> None:
    """It is lower if positives are close and negatives are not, and its gradient leads there."""
    loss, inputs = in_double(case)
    match case.cls.takes:
        case "scores":
            positive = positives(*inputs[0].shape)
            close, far = (torch.where(positive, *places).double() for places in ((-0.1, -5.0), (-5.0, -0.1)))
            low, high = (_values(loss(*arguments(case, (values,)))).mean() for values in (close, far))
            leaf = inputs[0].clone().requires_grad_()
            (gradient,) = torch.autograd.grad(_values(loss(*arguments(case, (leaf,)))).sum(), leaf)
            pull = float(gradient[positive].mean() - gradient[~positive].mean())
            expect(pull < 0, "a step down its gradient moves positives away, relative to negatives")
        case "pairs" | "batch":
            query = torch.randn(PAIRS, WIDTH).double()
            low, high = (loss(query, key).mean() for key in (query + 0.01 * torch.randn_like(query), -query))
        case _:
            raise Skips("a penalty has no positives")
    expect(bool(low < high), f"it is {low:.4g} if positives are close, and {high:.4g} if they are far apart")


def finite_at_low_temperature(case: Case) -> None:
    """Values and gradients are finite at temperature 0.005, where scores reach ±200, in float32."""
    loss = built(case)
    match case.cls.takes:
        case "scores":
            shape = inputs_of(case)[0].shape
            right = torch.where(positives(*shape), 1.0, -1.0)
            tables = [torch.rand(shape) * 2 - 1, right, -right, torch.ones(shape)]
            tried: list[tuple[Tensor, ...]] = [(table / LOWEST,) for table in tables]
        case "pairs" | "batch":
            query = torch.randn(PAIRS, WIDTH)
            tried = [(query / LOWEST, torch.randn_like(query) / LOWEST), (query, query.clone())]
        case _:
            tried = [inputs_of(case)]
    for inputs in tried:
        _finite_with_gradient(case, loss, inputs)


def _finite_with_gradient(case: Case, loss: nn.Module, inputs: tuple[Any, ...]) -> None:
    leaves = tuple(x.clone().requires_grad_() if isinstance(x, Tensor) else x for x in inputs)
    values = outputs(case, loss, leaves)
    finite(values, "its values")
    if any(x.requires_grad for x in values) and isinstance(leaves[0], Tensor):
        found = torch.autograd.grad(values[0].sum(), [x for x in leaves if isinstance(x, Tensor)], allow_unused=True)
        finite([x for x in found if x is not None], "its gradient")


def works_in_bfloat16(case: Case) -> None:
    """For embeddings in bfloat16, the loss and its gradient are finite, and close to those in float32."""
    if case.cls.takes == "embeddings":
        _penalty_in_bfloat16(case)
        return
    plain, found = (of_a_contrast(built(case), _score(case), dtype) for dtype in (torch.float32, torch.bfloat16))
    finite(found, "of embeddings in bfloat16, the loss or its gradient")
    same_numbers(found[0], plain[0], "the loss of embeddings in bfloat16", rtol=0.1, atol=0.1)


def _score(case: Case) -> nn.Module:
    """A score that measures what the loss wants."""
    return L2(0.2) if getattr(case.cls, "wants", None) == "distance" else Cosine(0.05)


def _penalty_in_bfloat16(case: Case) -> None:
    (table,) = inputs_of(case)
    rounded = Embeddings(table.z.bfloat16().float(), table.meta, table.features)
    finite([Penalty("branch", built(case))({"branch": rounded})], "of embeddings in bfloat16, the loss")  # type: ignore[arg-type]


def of_a_contrast(loss: nn.Module, score: nn.Module, dtype: torch.dtype) -> list[Tensor]:
    """The value of a contrast for embeddings of this type, and its gradients with respect to queries and keys."""
    generator = torch.Generator().manual_seed(5)
    leaves = [torch.randn(PAIRS, WIDTH, generator=generator).to(dtype).requires_grad_() for _ in range(2)]
    columns = {"instance": torch.arange(PAIRS), "row": torch.arange(PAIRS)}
    options: Any = {"keys": Drawn(4)} if _needs_noise(loss) else {}
    key = "key"
    if sees_all_queries(loss):
        columns["instance"], key = torch.arange(PAIRS) // 2, "query"
        options = {"positive": same("instance") & ~same("row")}
    contrast = Contrast("query", key, score=score, loss=loss, **options)  # type: ignore[arg-type]
    torch.manual_seed(0)
    term = contrast({name: Embeddings(z, columns) for name, z in zip(("query", "key"), leaves, strict=True)})
    found = torch.autograd.grad(term.value, leaves, allow_unused=True)
    return [term.value, *(x for x in found if x is not None)]


def _needs_noise(loss: nn.Module) -> bool:
    """Whether it needs the probabilities with which keys were drawn."""
    if getattr(loss, "takes", None) != "scores":
        return False
    try:
        with torch.no_grad():
            values, positive = torch.zeros(3, 3), positives(3, 3)
            loss(Scores(Candidates(values, positive), Candidates(values, ~positive), itself=True))
    except Exception:
        return True
    return False


def no_rows(case: Case) -> None:
    """Without queries or pairs, it returns no values, and the gradient can be computed."""
    if case.cls.takes not in ("scores", "pairs"):
        raise Skips("a statistic is never computed without rows")
    loss, inputs = built(case), inputs_of(case)
    leaves = tuple(x.clone().requires_grad_() for x in _first(case, inputs, 0))
    (values,) = outputs(case, loss, leaves)
    expect(values.shape == (0,), f"it returns {list(values.shape)} for no rows")
    values.sum().backward()


def one_row(case: Case) -> None:
    """A single query, or a single pair, has a finite value."""
    if case.cls.takes not in ("scores", "pairs"):
        raise Skips("a statistic needs several rows")
    (values,) = outputs(case, built(case), _first(case, inputs_of(case), 1))
    expect(values.shape == (1,), f"it returns {list(values.shape)} for one row")
    finite([values], "its value")


def _first(case: Case, inputs: tuple[Tensor, ...], rows: int) -> tuple[Tensor, ...]:
    return tuple(x[:rows, :rows] if sees_all_queries(case.cls) else x[:rows] for x in inputs)


def every_kernel_agrees(case: Case) -> None:
    """Every kernel of the core that can compute it gives the values and gradients of the dense kernel, in float64."""
    if case.cls.takes != "scores":
        raise Skips(f"a loss that takes {case.cls.takes} needs no kernel")
    loss = built(case).double()
    tried = list(problems(loss))
    if _needs_noise(loss):
        tried = [given for given in tried if given.problem().pairs.log_noise is not None]
    elif sees_all_queries(case.cls):
        tried = [given for given in tried if (of := given.problem()).pairs.itself and not of.symmetric]
    for part in known("kernel"):
        if part.namespace == CORE:
            kernel = make("kernel", part.address)
            for given in tried:
                agree(kernel, given, f"kernel {part.address}")


def two_processes_are_one(case: Case) -> None:
    """Two processes with different data have the loss and the gradient of one process with all data."""
    if not contrasts(case):
        raise Skips("a penalty sees only the rows of its own process")
    if case.cls.takes == "scores" and _needs_noise(built(case)):
        raise Skips("it needs drawn keys, and each process draws its own")
    found = case.plugin.worked[case.label].gradients
    if isinstance(found, str) or found is None:
        raise Fails(f"on two processes: {found}")
    whole = loss_and_gradients(copy.deepcopy(case.make()), (0, SHARES[-1][-1]))
    first, second = found
    expect(set(first) == set(whole), f"on two processes it has the weights {', '.join(first)}")
    for name, wanted in whole.items():
        rows = name in ("query", "key")
        mean = torch.cat([first[name], second[name]]) / 2 if rows else (first[name] + second[name]) / 2
        what = "the loss" if name == "loss" else f"the gradient by {name}"
        same_numbers(mean, wanted, f"{what}, of two processes", rtol=1e-6, atol=1e-9)


def _values(found: Any) -> Tensor:
    values: Tensor = found.value if isinstance(found, Summed) else found
    return values
