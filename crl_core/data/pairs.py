"""Queries, their candidate keys, and the scores between them that a loss reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CrlError
from .listing import Lister, PairList
from .relation import Columns, Relation
from .view import Embeddings

_SHORT = 32  # a list has at most so many pairs per query and per key


@dataclass(frozen=True, eq=False)  # not attrs: torch.compile follows a dataclass
class Pairs:
    """Queries with their candidate keys, and the relations that say which are positive and which negative.

    A candidate is a key that a query may be compared with. There are three layouts:
        shared keys: queries `[N, D]`, blocks of keys `[M, D]`; all keys are candidates of all queries;
        keys per query: queries `[N, 1, D]` or `[N, K, D]`, one block of keys `[N, K, D]`;
        both: queries `[N, D]`, and blocks of both kinds, such as drawn keys next to a queue.
    Columns of metadata have the same shapes without D. A row whose column `valid` is False is no candidate.

    >>> import torch
    >>> import crl_core as crl
    >>> rows = crl.Embeddings(torch.randn(4, 8), {"label": torch.tensor([0, 0, 1, 1])})
    >>> crl.Pairs(rows, (rows,), crl.same("label"), ~crl.same("label")).shape
    (4, 4)

    Attributes:
        query: the rows that are compared.
        keys: blocks of keys, such as those of the batch and those of a queue; M = M1 + M2 + ….
        positive, negative: relations. For a pair that is neither, the key is not a candidate.
        log_noise: `[N, K]`, the log-probability with which each key was drawn, if all keys were drawn.

    Raises:
        CrlError: the shapes of queries and keys don't fit.
    """

    query: Embeddings
    keys: tuple[Embeddings, ...]
    positive: Relation
    negative: Relation
    log_noise: Tensor | None = None
    _once: list[Embeddings] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        q = self.query.z
        for block in self.keys:
            k = block.z
            fits = k.shape[-1] == q.shape[-1]
            if k.dim() == 3:
                fits = fits and k.shape[0] == q.shape[0] and (q.dim() == 2 or q.shape[1] in (1, k.shape[1]))
            else:
                fits = fits and q.dim() == 2
            if not fits:
                raise CrlError(
                    f"queries {list(q.shape)} and keys {list(k.shape)} don't fit: shared keys are [N, D] with [M, D], "
                    f"keys per query [N, 1 or K, D] with [N, K, D]"
                )

    @property
    def per_query(self) -> bool:
        """Whether any block has keys per query."""
        return any(block.z.dim() == 3 for block in self.keys)

    @property
    def mixed(self) -> bool:
        """Whether there are both: keys per query, and shared keys."""
        return self.per_query and self.query.z.dim() == 2

    @cached_property
    def parts(self) -> list[Pairs]:
        """The same candidates, split so that each part has one layout; their scores stand side by side."""
        if not self.mixed:
            return [self]
        shared = tuple(block for block in self.keys if block.z.dim() == 2)
        parts = [Pairs(self.query, shared, self.positive, self.negative)] if shared else []
        queries = per_query(self.query)
        return parts + [
            Pairs(queries, (block,), self.positive, self.negative) for block in self.keys if block.z.dim() == 3
        ]

    @property
    def itself(self) -> bool:
        """Whether the keys are exactly the queries."""
        return len(self.keys) == 1 and self.keys[0].z is self.query.z

    @property
    def mirrored(self) -> bool:
        """Whether the keys are the queries, and if b is a negative of a, then a is a negative of b."""
        return self.itself and self.keys[0].meta is self.query.meta and self.negative.mutual

    @property
    def shape(self) -> tuple[int, int]:
        """`(N, M)` or `(N, K)`: the shape of the scores."""
        widths = (block.z.shape[1] if block.z.dim() == 3 else len(block) for block in self.keys)
        return len(self.query), sum(widths)

    @property
    def key(self) -> Tensor:
        """All blocks of keys as one tensor."""
        return self._joined.z

    @property
    def key_meta(self) -> Columns:
        """The columns that all blocks of keys have."""
        return self._joined.meta

    @property
    def _joined(self) -> Embeddings:
        if not self._once:
            self._once.append(Embeddings.concat(self.keys))
        return self._once[0]

    def _columns(self, rows: slice) -> tuple[Columns, Columns]:
        """The columns of these queries and of their keys, in shapes that broadcast to all pairs."""
        query, key = self.query.meta, self.key_meta
        if rows != slice(None):
            query = {name: column[rows] for name, column in query.items()}
            key = {name: column[rows] for name, column in key.items()} if self.per_query else key
        if not self.per_query:
            query = {name: column.unsqueeze(-1) for name, column in query.items()}
        return query, key

    def masks(self, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Which pairs of these queries are positive and which negative: bool, `[n, M]` each."""
        if self.mixed:
            sides = zip(*(part.masks(rows) for part in self.parts), strict=True)
            positive, negative = (torch.cat(side, 1) for side in sides)
            return positive, negative
        query, key = self._columns(rows)
        shape = (len(self.query.z[rows]), self.shape[1])
        positive, negative = self.positive(query, key).expand(shape), self.negative(query, key).expand(shape)
        for columns in (query, key):
            if "valid" in columns:
                positive, negative = positive & columns["valid"], negative & columns["valid"]
        return positive, negative

    def weights(self, positive: Tensor, rows: slice = slice(None)) -> Tensor | None:
        """The weight of each positive of these queries, `[n, M]`; 0 for other pairs; None if all have the same weight.

        Args:
            positive: the mask of the positives, the first of `masks`.
        """
        if not self.positive.soft:
            return None
        if self.mixed:
            widths = [part.shape[1] for part in self.parts]
            some = zip(self.parts, torch.split(positive, widths, 1), strict=True)
            return torch.cat(
                [torch.where(mask, part.positive.weights(*part._columns(rows)), 0.0) for part, mask in some], 1
            )
        return torch.where(positive, self.positive.weights(*self._columns(rows)), 0.0)

    @cached_property
    def listed(self) -> list[tuple[PairList | None, PairList | None]]:
        """The positive and the negative pairs of each block of shared keys, as lists; None instead of a long list."""
        lists = []
        for block in self.keys:
            lister = Lister(self.query.meta, block.meta, _SHORT * (len(self.query) + len(block)))
            positive = lister.weigh(self.positive, lister.list(self.positive))
            lists.append((positive, lister.list(self.negative)))
        return lists

    def strips(self, scores: int = 1 << 20) -> Iterator[slice]:
        """Slices of the queries, each with about so many scores."""
        count, width = self.shape
        size = max(1, scores // max(1, width))
        for start in range(0, max(1, count), size):  # without queries, one empty slice
            yield slice(start, min(start + size, count))

    def values(self, score: Callable[[Tensor, Tensor], Tensor], rows: slice = slice(None)) -> Tensor:
        """The scores `[n, M]` of these queries with all their keys, in at least float32."""
        wide = torch.promote_types(self.query.z.dtype, torch.float32)
        scores = (
            score(part.query.z[rows].to(wide), (part.key[rows] if part.per_query else part.key).to(wide))
            for part in self.parts
        )
        return torch.cat(list(scores), 1) if self.mixed else next(scores)

    def candidates(self, query: int) -> Embeddings:
        """All keys `[M, D]` of one query, with the columns that all blocks have."""
        blocks = [
            Embeddings(block.z[query], {name: column[query] for name, column in block.meta.items()})
            if block.z.dim() == 3
            else block
            for block in self.keys
        ]
        return Embeddings.concat(blocks)

    def aligned(self) -> tuple[Tensor, Tensor, Tensor]:
        """The positive pairs: the queries' indices `[P]`, and the embeddings `[P, D]` of both sides."""
        if not self.per_query:
            query, key = self.positive_indices()
            return query, self.query.z[query], self.key[key]
        pairs = []
        for part in self.parts:
            query, key = part.positive_indices()
            z = part.query.z
            mine = z[query] if z.dim() == 2 else z[query, key if z.shape[1] > 1 else 0]
            pairs.append((query, mine, part.key[query, key] if part.per_query else part.key[key]))
        rows, queries, keys = (torch.cat(side) for side in zip(*pairs, strict=True))
        return rows, queries, keys

    def positive_indices(self) -> tuple[Tensor, Tensor]:
        """The positive pairs as indices `[P]` of queries and of their keys, side by side."""
        indices = []
        for rows in self.strips():
            query, key = self.masks(rows)[0].nonzero(as_tuple=True)
            indices.append((query + rows.start, key))
        queries, keys = zip(*indices, strict=True)
        return torch.cat(queries), torch.cat(keys)

    def reversed(self) -> Pairs:
        """The keys as queries, and the queries as keys; for one block of shared keys."""
        if self.per_query or len(self.keys) != 1:
            raise CrlError("only one block of shared keys can be queries too")
        return Pairs(self.keys[0], (self.query,), self.positive, self.negative)


def per_query(table: Embeddings) -> Embeddings:
    """A table in the layout of keys per query: `[N, D]` becomes `[N, 1, D]`, `[N, K, D]` stays, and so do columns."""
    z = table.z.unsqueeze(1) if table.z.dim() == 2 else table.z
    shape = z.shape[:2]
    columns = {
        name: (column.unsqueeze(1) if column.dim() == 1 else column).expand(shape)
        for name, column in table.meta.items()
    }
    return Embeddings(z, columns)


class OfKeys(NamedTuple):
    """A number for each key, `[M]`."""

    vector: Tensor


@dataclass(frozen=True, eq=False)
class Candidates:
    """The scores `[N, M]` of some candidates of each query: its positives, or its negatives.

    Each method reduces the scores to one number per query, `[N]`. A loss that uses only these methods
    runs on every kernel. `weight` `[N, M]` holds the weights of a soft relation, for `mean`.
    """

    values: Tensor
    mask: Tensor
    weight: Tensor | None = None

    def count(self) -> Tensor:
        """The number of candidates."""
        return self.mask.sum(-1).to(self.values.dtype)

    def logsumexp(self, scale: float = 1.0) -> Tensor:
        """log of the sum of exp(scale · score); -inf for a query without candidates."""
        scaled = self if scale == 1.0 else Candidates(self.values * scale, self.mask)
        return scaled._reduce(lambda values: values.logsumexp(-1), -math.inf)

    def mean(self) -> Tensor:
        """The mean score, weighted if there are weights; 0 for a query without candidates."""
        if self.weight is None:
            return self.sum() / self.count().clamp(min=1)
        weight = self.weight.to(self.values.dtype)
        some = weight.sum(-1)
        return Candidates(self.values * weight, self.mask).sum() / some.masked_fill(some == 0, 1.0)

    def sum(self, function: Callable[..., Tensor] | None = None, *vectors: Tensor | OfKeys) -> Tensor:
        """The sum of `function(scores)`, elementwise; without a function, the sum of the scores.

        Args:
            vectors: more arguments of the function: a number for each query, `[N]`, or for each key, from
                `Scores.of_keys`.
        """
        # Other pairs are 0 before the function, so that their gradient can't be NaN, and 0 after it.
        values = self.values.masked_fill(~self.mask, 0.0)
        if function is not None:
            beside = (more.vector if isinstance(more, OfKeys) else more.unsqueeze(-1) for more in vectors)
            values = function(values, *beside).masked_fill(~self.mask, 0.0)
        return values.sum(-1)

    def max(self) -> Tensor:
        """The highest score; -inf for a query without candidates."""
        return self._reduce(lambda values: values.amax(-1), -math.inf)

    def min(self) -> Tensor:
        """The lowest score; inf for a query without candidates."""
        return self._reduce(lambda values: values.amin(-1), math.inf)

    def _reduce(self, reduction: Callable[[Tensor], Tensor], empty: float) -> Tensor:
        # Rows without candidates are filled with zeros first: a reduction of nothing but ±inf has NaN gradients.
        some = self.mask.any(-1)
        values = self.values.masked_fill(~self.mask, empty).masked_fill(~some.unsqueeze(-1), 0.0)
        return reduction(values).masked_fill(~some, empty)


class Summed(NamedTuple):
    """What a loss may return: the value `[N]` of each query is a sum of `terms` `[N]` terms, such as triplets.

    The mean of the contrast is then over all terms instead of over all queries.
    """

    value: Tensor
    terms: Tensor


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of N queries with their positives and negatives, from which a loss is computed.

    >>> import torch
    >>> import crl_core as crl
    >>> scores = crl.Scores.of(torch.tensor([[2.0, 0.0, 1.0]]), positive=torch.tensor([[True, False, False]]))
    >>> scores.positive.mean(), scores.negative.max(), scores.negative.count()
    (tensor([2.]), tensor([1.]), tensor([2.]))

    Attributes:
        positive, negative: `Candidates`; a pair may be in neither.
        log_noise: `[N, M]`, the log-probability with which each key was drawn, if keys were drawn.
        itself: whether the keys are exactly the queries.
    """

    positive: Candidates
    negative: Candidates
    log_noise: Tensor | None = None
    itself: bool = False

    def of_keys(self, vector: Tensor) -> OfKeys:
        """A number for each query, `[N]`, as a number for each key; for a loss with `sees_all_queries`.

        Raises:
            CrlError: the keys are not the queries.
        """
        if not self.itself:
            raise CrlError(
                "numbers of queries are numbers of keys only if both are the same: name one branch as query and key"
            )
        return OfKeys(vector)

    def minus(self, noise: Tensor) -> Scores:
        """The scores minus `noise` `[N, M]`, such as the log-probabilities of drawn keys."""
        less = [Candidates(side.values - noise, side.mask, side.weight) for side in (self.positive, self.negative)]
        return Scores(less[0], less[1])

    def hinges(self, margin: float) -> Summed:
        """Σ max(0, margin + s⁻ - s⁺) over all pairs of a positive and a negative, and how many are above 0.

        The positives are sorted, and each negative's place among them is searched: N·M log P steps, not N·P·M.
        """
        value = self.negative.values  # first: here a kernel that works on tiles learns that it can't run this
        positive, some = self._positives()
        edge = (positive - margin).masked_fill(~some, math.inf).sort(-1).values
        passed = torch.searchsorted(edge.detach(), value.detach()).masked_fill(~self.negative.mask, 0)
        sums = F.pad(edge.masked_fill(edge.isinf(), 0.0).cumsum(-1), (1, 0))
        total = (passed * value - sums.gather(-1, passed)).masked_fill(passed == 0, 0.0)
        return Summed(total.sum(-1), passed.sum(-1).to(value.dtype))

    def semi_hard_hinges(self, margin: float) -> Summed:
        """Σ over positives of max(0, margin + s⁻ - s⁺) with the highest s⁻ below s⁺; and how many have such an s⁻."""
        ordered, (positive, some) = self._ordered(), self._positives()
        place = torch.searchsorted(ordered, positive) - 1
        below = ordered.gather(-1, place.clamp(min=0))
        some = some & (place >= 0) & below.isfinite()
        value = F.relu(margin + torch.where(some, below - positive, -margin))
        return Summed(value.sum(-1), some.sum(-1).to(positive.dtype))

    def _positives(self) -> tuple[Tensor, Tensor]:
        """The scores of the positives, `[N, P]`, where P is the most that a query has; and a mask for them."""
        values, mask = self.positive.values, self.positive.mask
        # A compiler doesn't know P, and takes M instead.
        known = mask.numel() > 0 and not torch.compiler.is_compiling()
        most = int(mask.sum(-1).max()) if known else mask.shape[-1]
        some, place = mask.to(values.dtype).topk(most)
        return values.gather(-1, place), some > 0

    def _ordered(self) -> Tensor:
        """The scores of the negatives, `[N, M]`, in rising order; -inf for other pairs."""
        return self.negative.values.masked_fill(~self.negative.mask, -math.inf).sort(-1).values

    @staticmethod
    def of(values: Tensor, positive: Tensor, negative: Tensor | None = None) -> Scores:
        """From a matrix of scores `[N, M]` and bool masks; by default, all pairs that aren't positive are negative."""
        return Scores(Candidates(values, positive), Candidates(values, ~positive if negative is None else negative))
