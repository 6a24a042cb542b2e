"""Queries, their candidate keys, and the scores between them as a loss sees them."""

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
from .listing import Listed, Lister
from .relation import Columns, Relation
from .view import Embeddings

_SHORT = 32  # pairs for every query and key, at most, in what is called a list


@dataclass(frozen=True, eq=False)  # as torch.compile can follow it
class Pairs:
    """Queries with their candidate keys, and the relations that tell positives from negatives.

    Three layouts:
        shared keys: queries `[N, D]`, every block of keys `[M, D]`; all against all;
        keys per query: queries `[N, 1, D]` or `[N, K, D]`, one block of keys `[N, K, D]`;
        both: queries `[N, D]`, blocks of either kind, such as drawn keys next to a queue.
    Columns of metadata have the same shapes without D; a row whose column `valid` is False is no
    candidate.

    >>> import torch
    >>> import crl_core as crl
    >>> rows = crl.Embeddings(torch.randn(4, 8), {"label": torch.tensor([0, 0, 1, 1])})
    >>> crl.Pairs(rows, (rows,), crl.same("label"), ~crl.same("label")).shape
    (4, 4)

    Attributes:
        query, keys: blocks of keys stand side by side, M = M1 + M2 + …: the batch's, a queue's.
        positive, negative: a pair may be neither, and is then no candidate.
        log_noise: `[N, K]`, log-probability with which each key was drawn, where all keys were drawn.

    Raises:
        CrlError: queries and keys don't fit each other.
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
        """Whether any of the keys were made for one query."""
        return any(block.z.dim() == 3 for block in self.keys)

    @property
    def mixed(self) -> bool:
        """Whether some of the keys were made for one query, and others are shared."""
        return self.per_query and self.query.z.dim() == 2

    @cached_property
    def parts(self) -> list[Pairs]:
        """The same candidates as problems of one layout each, whose scores stand side by side."""
        if not self.mixed:
            return [self]
        shared = tuple(block for block in self.keys if block.z.dim() == 2)
        found = [Pairs(self.query, shared, self.positive, self.negative)] if shared else []
        own = per_query(self.query)
        return found + [Pairs(own, (block,), self.positive, self.negative) for block in self.keys if block.z.dim() == 3]

    @property
    def itself(self) -> bool:
        """Whether the queries are the keys, and these alone."""
        return len(self.keys) == 1 and self.keys[0].z is self.query.z

    @property
    def mirrored(self) -> bool:
        """Whether the queries are the keys, and each has those as its negatives that have it as theirs."""
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
        """The columns of these queries and of their keys, such that they broadcast to all pairs."""
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
        """How much each positive of these queries counts, `[n, M]`, 0 for what is none; None where all count alike.

        Args:
            positive: which these are, the first of their masks.
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
    def listed(self) -> list[tuple[Listed | None, Listed | None]]:
        """For every block of shared keys, its positive and its negative pairs as lists, where these are short."""
        found = []
        for block in self.keys:
            lister = Lister(self.query.meta, block.meta, _SHORT * (len(self.query) + len(block)))
            positive = lister.weigh(self.positive, lister.list(self.positive))
            found.append((positive, lister.list(self.negative)))
        return found

    def strips(self, scores: int = 1 << 20) -> Iterator[slice]:
        """The queries in strips, each with about that many scores."""
        count, width = self.shape
        size = max(1, scores // max(1, width))
        for start in range(0, max(1, count), size):  # one that is empty where there are no queries
            yield slice(start, min(start + size, count))

    def values(self, score: Callable[[Tensor, Tensor], Tensor], rows: slice = slice(None)) -> Tensor:
        """The scores `[n, M]` of these queries with all their keys, in at least float32."""
        wide = torch.promote_types(self.query.z.dtype, torch.float32)
        made = (
            score(part.query.z[rows].to(wide), (part.key[rows] if part.per_query else part.key).to(wide))
            for part in self.parts
        )
        return torch.cat(list(made), 1) if self.mixed else next(made)

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
        found = []
        for part in self.parts:
            query, key = part.positive_indices()
            z = part.query.z
            mine = z[query] if z.dim() == 2 else z[query, key if z.shape[1] > 1 else 0]
            found.append((query, mine, part.key[query, key] if part.per_query else part.key[key]))
        rows, queries, keys = (torch.cat(side) for side in zip(*found, strict=True))
        return rows, queries, keys

    def positive_indices(self) -> tuple[Tensor, Tensor]:
        """The positive pairs as indices `[P]` of queries and of their keys, side by side."""
        found = []
        for rows in self.strips():
            query, key = self.masks(rows)[0].nonzero(as_tuple=True)
            found.append((query + rows.start, key))
        queries, keys = zip(*found, strict=True)
        return torch.cat(queries), torch.cat(keys)

    def reversed(self) -> Pairs:
        """The keys as queries, and the queries as keys; for one block of shared keys."""
        if self.per_query or len(self.keys) != 1:
            raise CrlError("only one block of shared keys can be queries too")
        return Pairs(self.keys[0], (self.query,), self.positive, self.negative)


def per_query(table: Embeddings) -> Embeddings:
    """`[N, D]` as `[N, 1, D]`, `[N, K, D]` as it is, and all columns as wide."""
    z = table.z.unsqueeze(1) if table.z.dim() == 2 else table.z
    shape = z.shape[:2]
    columns = {
        name: (column.unsqueeze(1) if column.dim() == 1 else column).expand(shape)
        for name, column in table.meta.items()
    }
    return Embeddings(z, columns)


class OfKeys(NamedTuple):
    """Numbers `[M]` of the keys."""

    vector: Tensor


@dataclass(frozen=True, eq=False)
class Candidates:
    """The scores `[N, M]` of some candidates of each query: its positives, or its negatives.

    Every method reduces them to one number per query, `[N]`. A loss written with these methods
    alone runs on every kernel. `weight` `[N, M]` is that of positives by a soft relation, and weighs their mean.
    """

    values: Tensor
    mask: Tensor
    weight: Tensor | None = None

    def count(self) -> Tensor:
        """How many there are."""
        return self.mask.sum(-1).to(self.values.dtype)

    def logsumexp(self, scale: float = 1.0) -> Tensor:
        """log of the sum of exp(scale · score); -inf where there are none."""
        scaled = self if scale == 1.0 else Candidates(self.values * scale, self.mask)
        return scaled._reduce(lambda values: values.logsumexp(-1), -math.inf)

    def mean(self) -> Tensor:
        """Mean score, by the weights if there are any; 0 where there are none."""
        if self.weight is None:
            return self.sum() / self.count().clamp(min=1)
        weight = self.weight.to(self.values.dtype)
        some = weight.sum(-1)
        return Candidates(self.values * weight, self.mask).sum() / some.masked_fill(some == 0, 1.0)

    def sum(self, function: Callable[..., Tensor] | None = None, *vectors: Tensor | OfKeys) -> Tensor:
        """Sum of `function(scores)`, elementwise; of the scores themselves without one.

        Further vectors `[N]`, numbers of the queries, are handed to the function along with the scores; so are
        those of the keys, from `Scores.of_keys`.
        """
        # What is no candidate is 0 before, so that no function can make its gradient NaN, and after.
        values = self.values.masked_fill(~self.mask, 0.0)
        if function is not None:
            beside = (more.vector if isinstance(more, OfKeys) else more.unsqueeze(-1) for more in vectors)
            values = function(values, *beside).masked_fill(~self.mask, 0.0)
        return values.sum(-1)

    def max(self) -> Tensor:
        """The highest score; -inf where there are none."""
        return self._reduce(lambda values: values.amax(-1), -math.inf)

    def min(self) -> Tensor:
        """The lowest score; inf where there are none."""
        return self._reduce(lambda values: values.amin(-1), math.inf)

    def _reduce(self, reduction: Callable[[Tensor], Tensor], empty: float) -> Tensor:
        # Rows without candidates are filled with zeros first: reductions of ±inf alone give NaN gradients.
        some = self.mask.any(-1)
        values = self.values.masked_fill(~self.mask, empty).masked_fill(~some.unsqueeze(-1), 0.0)
        return reduction(values).masked_fill(~some, empty)


class Summed(NamedTuple):
    """What a loss may return instead of one value: each query's is a sum of `terms` `[N]` terms.

    The mean of the contrast is then over all terms: over triplets, say, instead of queries.
    """

    value: Tensor
    terms: Tensor


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of N queries with their positives and negatives: what a loss is a formula of.

    >>> import torch
    >>> import crl_core as crl
    >>> scores = crl.Scores.of(torch.tensor([[2.0, 0.0, 1.0]]), positive=torch.tensor([[True, False, False]]))
    >>> scores.positive.mean(), scores.negative.max(), scores.negative.count()
    (tensor([2.]), tensor([1.]), tensor([2.]))

    Attributes:
        positive, negative: `Candidates`; a pair may be in neither.
        log_noise: `[N, M]`, log-probability with which each key was drawn, where keys were drawn.
        itself: whether the keys are the queries, all of them.
    """

    positive: Candidates
    negative: Candidates
    log_noise: Tensor | None = None
    itself: bool = False

    def of_keys(self, vector: Tensor) -> OfKeys:
        """Numbers `[N]` of the queries as numbers of the keys, which they are: for a loss that says `together`.

        Raises:
            CrlError: the keys are not the queries.
        """
        if not self.itself:
            raise CrlError(
                "what a key has as a query is known only where all queries are the keys: query and key alike"
            )
        return OfKeys(vector)

    def minus(self, noise: Tensor) -> Scores:
        """With this much `[N, M]` less for every score, as log-probabilities of drawn keys are."""
        less = [Candidates(side.values - noise, side.mask, side.weight) for side in (self.positive, self.negative)]
        return Scores(less[0], less[1])

    def hinges(self, margin: float) -> Summed:
        """Σ max(0, margin + s⁻ - s⁺) over all pairs of a positive and a negative, and how many are above 0.

        By sorting the positives and searching each negative's place among them: N·M log P, not N·P·M.
        """
        value = self.negative.values  # first: a kernel that sees tiles learns here that it can't
        positive, some = self._positives()
        edge = (positive - margin).masked_fill(~some, math.inf).sort(-1).values
        passed = torch.searchsorted(edge.detach(), value.detach()).masked_fill(~self.negative.mask, 0)
        sums = F.pad(edge.masked_fill(edge.isinf(), 0.0).cumsum(-1), (1, 0))
        found = (passed * value - sums.gather(-1, passed)).masked_fill(passed == 0, 0.0)
        return Summed(found.sum(-1), passed.sum(-1).to(value.dtype))

    def semi_hard_hinges(self, margin: float) -> Summed:
        """Σ over positives of max(0, margin + s⁻ - s⁺) with the highest s⁻ below s⁺, and how many have one."""
        ordered, (positive, some) = self._ordered(), self._positives()
        place = torch.searchsorted(ordered, positive) - 1
        below = ordered.gather(-1, place.clamp(min=0))
        some = some & (place >= 0) & below.isfinite()
        value = F.relu(margin + torch.where(some, below - positive, -margin))
        return Summed(value.sum(-1), some.sum(-1).to(positive.dtype))

    def _positives(self) -> tuple[Tensor, Tensor]:
        """The positives' scores side by side, `[N, P]` for at most P of them, and which of these there are."""
        values, mask = self.positive.values, self.positive.mask
        # Their number is not known to a compiler, which takes all M.
        known = mask.numel() > 0 and not torch.compiler.is_compiling()
        most = int(mask.sum(-1).max()) if known else mask.shape[-1]
        some, place = mask.to(values.dtype).topk(most)
        return values.gather(-1, place), some > 0

    def _ordered(self) -> Tensor:
        """The negatives' scores `[N, M]` in rising order, -inf for what is none."""
        return self.negative.values.masked_fill(~self.negative.mask, -math.inf).sort(-1).values

    @staticmethod
    def of(values: Tensor, positive: Tensor, negative: Tensor | None = None) -> Scores:
        """From a matrix of scores `[N, M]` and bool masks; by default what isn't positive is negative."""
        return Scores(Candidates(values, positive), Candidates(values, ~positive if negative is None else negative))
