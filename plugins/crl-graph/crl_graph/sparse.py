"""Sparse matrices that multiply dense ones, both ways: what a layer over edges costs, in time and memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch_geometric.nn.conv.gcn_conv import gcn_norm

_MOSTLY_ZERO = 0.1  # a table with fewer numbers than this that are not 0 is multiplied as a sparse one


@attrs.frozen(eq=False)
class Sparse:
    """A constant matrix `[N, M]`, by rows, and its transpose, for the gradients."""

    matrix: Tensor
    turned: Tensor

    @staticmethod
    def of(row: Tensor, column: Tensor, value: Tensor, shape: tuple[int, int]) -> Sparse:
        """From entries `[E]`; those at the same place are added up."""
        return Sparse(_by_rows(row, column, value, shape), _by_rows(column, row, value, (shape[1], shape[0])))

    def __matmul__(self, dense: Tensor) -> Tensor:
        """`[M, D]` to `[N, D]`, in the precision of `dense` but for half ones."""
        with torch.autocast(dense.device.type, enabled=False):
            found: Tensor = _Product.apply(dense.to(torch.promote_types(dense.dtype, torch.float32)), self)
            return found


def _by_rows(row: Tensor, column: Tensor, value: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls this layout a beta, once, in the middle of a run
        return torch.sparse_coo_tensor(torch.stack([row, column]), value, shape).coalesce().to_sparse_csr()


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dense: Tensor, by: Sparse) -> Tensor:
        ctx.by = by
        return by.matrix.to(dense.dtype) @ dense

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.by.turned.to(gradient.dtype) @ gradient, None


def propagation(edges: Tensor, weight: Tensor | None, nodes: int) -> Sparse:
    """D^-½ (A + I) D^-½ of edges `[2, E]` from the first row's nodes to the second's (Kipf and Welling 2017).

    A node that has a loop already keeps it; isolated nodes have their own alone.
    """
    index, value = gcn_norm(edges, weight, nodes, dtype=torch.get_default_dtype())
    return Sparse.of(index[1], index[0], value, (nodes, nodes))


def weighted(edges: Tensor, weight: Tensor | None, nodes: int) -> Sparse:
    """Edges `[2, E]` from the first row's nodes to the second's, with their weights, or 1 each."""
    value = torch.ones(edges.shape[1], device=edges.device) if weight is None else weight
    return Sparse.of(edges[1], edges[0], value, (nodes, nodes))


def table(x: Tensor, normalise: bool) -> Tensor | Sparse:
    """Features `[N, F]`, as a sparse matrix where most are 0; with `normalise`, each row's sizes sum to 1."""
    if normalise:
        size = x.abs().sum(1, keepdim=True)
        x = x / size.masked_fill(size == 0, 1.0)
    if x.count_nonzero() > _MOSTLY_ZERO * x.numel():
        return x
    row, column = x.nonzero(as_tuple=True)
    return Sparse.of(row, column, x[row, column], (x.shape[0], x.shape[1]))


class Kept:
    """What was made last, handed out again as long as it is asked for of the very same tensors."""

    def __init__(self) -> None:
        self._of: tuple[Any, ...] = ()
        self._versions: tuple[int, ...] = ()
        self._made: Any = None

    def __call__(self, make: Callable[..., Any], *of: Any) -> Any:
        versions = tuple(each._version for each in of if isinstance(each, Tensor))  # which count changes in place
        if versions != self._versions or len(of) != len(self._of) or not all(map(_same, of, self._of)):
            self._of, self._versions, self._made = of, versions, make(*of)
        return self._made

    def __deepcopy__(self, memo: dict[int, Any]) -> Kept:
        return Kept()

    def __reduce__(self) -> tuple[type[Kept], tuple[()]]:
        return Kept, ()


def _same(one: Any, other: Any) -> bool:
    return one is other or (not isinstance(one, Tensor) and not isinstance(other, Tensor) and bool(one == other))
