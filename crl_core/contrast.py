"""A contrast: queries against keys, with a score, a loss and the relations between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from . import distributed
from .errors import CrlError
from .pairs import Pairs
from .parts.kernels.dense import Dense
from .parts.memories.in_batch import InBatch
from .parts.scores.dot import Dot
from .protocols import Embeddings, Kernel, Loss, Memory, Outcome, Problem, Score, Spanning, together
from .registry import make
from .registry.kernels import choose_kernel
from .relation import And, Relation, parse, same

SAME_INSTANCE = same("instance")


class Term(NamedTuple):
    """One term of the objective: its mean over the counted queries, and how many were not counted."""

    value: Tensor
    ignored: Tensor


class Contrast(nn.Module):
    """Queries against keys.

    Args:
        query, key: the branches whose rows they are; several branches stand one below the other.
            Without `key`, all keys come from the memory.
        score: higher means closer; a plain dot product by default.
        loss: a loss on scores, or on the positive pairs themselves.
        positive, negative: relations, or their text; by default negative is what is neither
            positive nor the query's own row. Every row has the columns of its view, and
                `row`: its number, the same for a row that is both query and key, unknown for
                    what a memory holds;
                `batch`: the number of the step in which it was computed;
                `view`: the number of its view, in the sampler's order.
        memory: where further keys come from; after the loss it takes the batch's keys, or the
            queries where there is no key branch.
        draw: contrast each query with one positive and so many drawn negatives.
        draw_by: whether by "chance" or by "distance", so that near ones are not missed.
        per_query: the key's rows `[N, K, D]` were made for each query.
        symmetric: the keys are queries too, against the queries (CLIP): the mean over both.
        weight: of this term in the sum.
        kernel: which body computes it; `"auto"` takes the best that can.
        name: of this term; by default made of the branches' names.
    """

    def __init__(
        self,
        query: str | Sequence[str],
        key: str | Sequence[str] | None,
        *,
        loss: Loss | type[Loss] | str,
        score: Score | type[Score] | str | None = None,
        positive: Relation | str = SAME_INSTANCE,
        negative: Relation | str | None = None,
        memory: Memory | type[Memory] | str | None = None,
        draw: int | None = None,
        draw_by: Literal["chance", "distance"] = "chance",
        per_query: bool = False,
        symmetric: bool = False,
        weight: float = 1.0,
        kernel: str = "auto",
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.query = query if isinstance(query, str) else tuple(query)
        self.key = key if key is None or isinstance(key, str) else tuple(key)
        self.score: Score = make("score", score or Dot())
        self.loss: Loss = make("loss", loss)
        self.positive = _relation(positive)
        self.negative = _others(self.positive) if negative is None else _relation(negative)
        self.memory: Memory = make("memory", memory or InBatch())
        self.draw, self.draw_by, self.per_query, self.symmetric = draw, draw_by, per_query, symmetric
        self.weight, self.kernel = weight, kernel
        self.name = name or "-".join(dict.fromkeys(_names(query) + _names(key)))
        self._fresh: Embeddings | None = None
        self._check()

    def _check(self) -> None:
        if self.loss.takes == "embeddings":
            raise CrlError(f"{type(self.loss).__name__} takes one branch's embeddings: put it in a Penalty")
        if self.loss.takes != "scores" and (self.per_query or self.draw or not isinstance(self.memory, InBatch)):
            raise CrlError(f"{type(self.loss).__name__} takes positive pairs of the batch: no memory, no drawn keys")
        if self.symmetric and (self.key is None or self.per_query or self.draw or not isinstance(self.memory, InBatch)):
            raise CrlError("keys that are queries too are the batch's: no memory, none per query, none drawn")
        if (self.draw is not None and self.draw < 1) or self.draw_by not in ("chance", "distance"):
            raise CrlError(f'draw is 1 or more, by "chance" or "distance", not {self.draw} by {self.draw_by!r}')
        alone = self.key == self.query and isinstance(self.memory, InBatch) and not self.symmetric
        if together(self.loss) and (not alone or self.per_query or self.draw):
            raise CrlError(
                f"{type(self.loss).__name__} wants queries that are the keys: key and query alike, no memory"
            )
        if self.key is None and isinstance(self.memory, InBatch):
            raise CrlError(f"the contrast {self.name!r} has no keys: name the key's branch, or give it a memory")

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches that it reads."""
        return tuple(dict.fromkeys(_names(self.query) + _names(self.key)))

    def build(self, table: Mapping[str, Embeddings]) -> None:
        """Makes the weights that a lazy score has, on embeddings of an example batch."""
        if self.loss.takes == "scores":
            query, key = (table[_names(names)[0]].rows().z[:1] for names in (self.query, self.key or self.query))
            self.score(query, key)

    def pairs(self, table: Mapping[str, Embeddings]) -> Pairs | None:
        """The queries and keys in `table`, with what the memory holds; None where there is no key yet."""
        query, keys = self._rows(table)
        if not keys:
            return None
        pairs = Pairs(query, keys, self.positive, self.negative)
        return self._drawn(pairs)

    def _rows(
        self, table: Mapping[str, Embeddings], swapped: bool = False
    ) -> tuple[Embeddings, tuple[Embeddings, ...]]:
        """The queries, and the keys in blocks: the batch's, if it has any, then the memory's."""
        flat, dim = (_per_query, 1) if self.per_query else (Embeddings.rows, 0)
        sides = (self.key, self.query) if swapped else (self.query, self.key)
        query = self._annotated(Embeddings.concat([flat(table[name]) for name in _names(sides[0])], dim))
        keys: tuple[Embeddings, ...] = ()
        if self.key == self.query:
            # Queries that are their own keys stay one tensor: a kernel may use that.
            keys = (distributed.gather(query),)
        elif self.key is not None:
            batch = self._annotated(Embeddings.concat([flat(table[name]) for name in _names(sides[1])], dim))
            keys = (batch if self.per_query else distributed.gather(batch),)
        if (held := self.memory.keys()) is not None:
            unknown = torch.full((len(held),), -1, device=held.z.device)
            keys += (Embeddings(held.z, {**held.meta, "row": unknown}),)
        return query, keys

    def _annotated(self, table: Embeddings) -> Embeddings:
        # An encoder may have computed in half precision. On CUDA that is handed on: there a body sums such scores in
        # float32.
        z = table.z if table.z.is_cuda and self.loss.takes == "scores" else _single(table.z)
        # By name, which at every step is ten times quicker than asking for the protocol Annotates.
        annotate = getattr(self.memory, "annotate", None)
        more = annotate(table.meta) if annotate is not None else {}
        return Embeddings(z, {**table.meta, **more})

    def forward(self, table: Mapping[str, Embeddings]) -> Term:
        """The term for these embeddings; in training, the memory takes the batch's keys afterwards."""
        self.remember()
        query, keys = self._rows(table)
        if self.training and not isinstance(self.memory, InBatch):
            fresh = distributed.gather(query) if self.key is None else keys[0]
            kept = getattr(self.score, "kept", None)
            z = _single(fresh.z.detach())
            self._fresh = Embeddings(z if kept is None else kept(z), fresh.meta)
        if not keys:
            return Term(query.z.sum() * 0, torch.tensor(len(query)))
        pairs = Pairs(query, keys, self.positive, self.negative)
        if self.loss.takes == "pairs":
            return self._of_pairs(pairs)
        if self.loss.takes == "batch":
            return self._of_batch(pairs)
        if together(self.loss):
            total, terms, ignored = self._outcome(Pairs(keys[0], keys, self.positive, self.negative))
            return Term(total / terms.clamp(min=1), ignored)
        if self.symmetric and distributed.world_size() > 1:
            return self._across(pairs, table)
        return _mean(*self._outcome(self._drawn(pairs), self.symmetric))

    def _drawn(self, pairs: Pairs) -> Pairs:
        return pairs.draw(self.draw, self.draw_by) if self.draw else pairs

    def check(self, table: Mapping[str, Embeddings]) -> None:
        """Whether there is anything to contrast.

        Raises:
            CrlError: no query has a positive, or none has a negative and there is no memory to wait for.
        """
        pairs = self.pairs(table)
        if pairs is None or not isinstance(self.memory, InBatch):
            return
        found = torch.zeros(2, dtype=torch.bool, device=pairs.query.z.device)
        for rows in pairs.strips():
            found |= torch.stack([mask.any() for mask in pairs.masks(rows)])
        for some, name in zip(found.tolist(), ("positive", "negative"), strict=True):
            if not some and (name == "positive" or self.loss.takes == "scores"):
                raise CrlError(
                    f"the contrast {self.name!r}: none of the {len(pairs.query)} queries has a {name}, by "
                    f"{getattr(self, name)}. Is the batch too small, or does the relation ask too much?"
                )

    def remember(self) -> None:
        """Hands the memory the keys of the last step, whose loss and gradient are done with by now."""
        if self._fresh is not None:
            self.memory.update(self._fresh)
            self._fresh = None

    def _save_to_state_dict(self, *args: Any) -> None:
        self.remember()
        super()._save_to_state_dict(*args)

    def _outcome(self, pairs: Pairs, symmetric: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """The sum of the loss, of how many terms, and how many queries count for nothing."""
        problem = Problem(pairs, self.score, self.loss, symmetric)
        return _sums(self._body(problem)(problem))

    def _body(self, problem: Problem) -> Kernel:
        # A compiler can't follow lists, whose length the data tell; it makes the most of the plain body.
        plain = self.kernel == "auto" and torch.compiler.is_compiling()
        return Dense() if plain else choose_kernel(self.kernel, problem)

    def _across(self, pairs: Pairs, table: Mapping[str, Embeddings]) -> Term:
        """Both directions over several processes, which have queries of their own and everybody's keys."""
        problem, device = Problem(pairs, self.score, self.loss, symmetric=True), pairs.query.z.device
        body = self._body(problem)
        # All in one traversal or none: whether it can, depends on the data.
        spans = isinstance(body, Spanning) and body.spans(problem)
        if distributed.everywhere(spans, device) and isinstance(body, Spanning):
            own = sum(len(table[name].rows()) for name in _names(self.key))
            return _mean(*_sums(body.across(problem, distributed.place(own, device))))
        back = Pairs(*self._rows(table, swapped=True), self.positive, self.negative)
        return _mean(*(a + b for a, b in zip(self._outcome(pairs), self._outcome(back), strict=True)))

    def _of_pairs(self, pairs: Pairs) -> Term:
        query, key = pairs.positive_indices()
        alone = torch.ones(len(pairs.query), dtype=torch.bool, device=query.device)
        alone[query] = False
        values = self.loss(pairs.query.z[query], pairs.key[key])
        return _mean(values.sum(), torch.tensor(len(values), device=values.device), alone.sum())

    def _of_batch(self, pairs: Pairs) -> Term:
        """A statistic of all pairs together, of all processes: each computes it whole."""
        pairs = Pairs(distributed.gather(pairs.query), pairs.keys, self.positive, self.negative)
        query, key = pairs.positive_indices()
        alone = len(pairs.query) - torch.unique(query).numel()
        return Term(self.loss(pairs.query.z[query], pairs.key[key]), torch.tensor(alone, device=query.device))


def _sums(outcome: Outcome) -> tuple[Tensor, Tensor, Tensor]:
    return outcome.total, outcome.terms.sum(), (~outcome.counted).sum()


def _mean(total: Tensor, counted: Tensor, ignored: Tensor) -> Term:
    """The mean over what counts on all processes, such that the average of the processes' gradients is its gradient."""
    world, mean = distributed.world_size(), total / distributed.total(counted).clamp(min=1)
    return Term(mean if world == 1 else mean * world, distributed.total(ignored))


def _single(z: Tensor) -> Tensor:
    return z.float() if z.dtype in (torch.bfloat16, torch.float16) else z


def _names(names: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if names is None else (names,) if isinstance(names, str) else tuple(names)


def _relation(relation: Relation | str) -> Relation:
    return parse(relation) if isinstance(relation, str) else relation


def _others(positive: Relation) -> Relation:
    """What is neither positive nor the query's own row."""
    if isinstance(positive, And) and positive.right == ~same("row"):
        return ~positive.left & ~same("row")
    return ~positive & ~same("row")


def _per_query(table: Embeddings) -> Embeddings:
    """`[N, D]` as `[N, 1, D]`, `[N, K, D]` as it is, and all columns as wide."""
    z = table.z.unsqueeze(1) if table.z.dim() == 2 else table.z
    shape = z.shape[:2]
    columns = {
        name: (column.unsqueeze(1) if column.dim() == 1 else column).expand(shape)
        for name, column in table.meta.items()
    }
    return Embeddings(z, columns)
