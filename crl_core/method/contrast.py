"""A contrast: queries against keys, with a score, a loss and the relations between them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .. import distributed
from ..contracts.parts import Keys, Loss, Memory, Score, sees_all_queries
from ..data.pairs import Pairs, per_query
from ..data.parsing import parse
from ..data.relation import And, Relation, same
from ..data.view import Embeddings
from ..errors import CrlError
from ..parts.keys.per_query import PerQuery
from ..parts.scores.dot import Dot
from ..parts.scores.l2 import L2
from ..registry import make
from .terms import term_of
from .terms.term import Sides, Term

SAME_INSTANCE = same("instance")


class Side(NamedTuple):
    """The memories of one side's keys, and for each the keys that wait for the end of the step."""

    memories: Sequence[Any]
    pending: list[list[Embeddings]]


class Contrast(nn.Module):
    """Queries against keys.

    >>> import crl_core as crl
    >>> contrast = crl.Contrast("query", "key", loss="info-nce", keys=crl.Queue(4096))
    >>> print(contrast.positive, contrast.negative, type(contrast.score).__name__)
    same("instance") ~same("instance") & ~same("row") Dot

    Args:
        query, key: the branches whose rows they are; several branches stand one below the other.
            Without `key`, all keys come from memories.
        loss: a loss on scores, or on the positive pairs themselves.
        score: higher means closer; by default a plain dot product, or the distance that the loss wants.
        positive, negative: relations, or their text; by default negative is what is neither
            positive nor the query's own row. Every row has the columns of its view, and
                `row`: its number, the same for a row that is both query and key, unknown for
                    what a memory holds;
                `batch`: the number of the step in which it was computed;
                `view`: the number of its view, in the sampler's order.
        keys: which candidates a query has: by default the batch's keys; a memory adds what it holds, and takes the
            batch's keys at the end of the step (the queries, where there is no key branch); `Drawn` draws some for
            each query; `PerQuery` says that the key branch's rows were made for each query. One, or several.
        symmetric: the keys are queries too, against the queries (CLIP): the mean over both. Each direction has
            memories of its own.
        weight: of this term in the sum; a number, or a `Scheduled` one.
        kernel: which kernel computes it; `"auto"` takes the best that can.
        name: of this term; by default made of the branches' names.
        source: the source on whose batches this term runs, where a run has several.

    Raises:
        CrlError: what was asked for doesn't go together.
    """

    def __init__(
        self,
        query: str | Sequence[str],
        key: str | Sequence[str] | None = None,
        *,
        loss: Loss | type[Loss] | str,
        score: Score | type[Score] | str | None = None,
        positive: Relation | str = SAME_INSTANCE,
        negative: Relation | str | None = None,
        keys: Keys | type[Keys] | str | Sequence[Keys | type[Keys] | str] = (),
        symmetric: bool = False,
        weight: float = 1.0,
        kernel: str = "auto",
        name: str | None = None,
        source: str | None = None,
    ) -> None:
        super().__init__()
        self.query = query if isinstance(query, str) else tuple(query)
        self.key = key if key is None or isinstance(key, str) else tuple(key)
        self.loss: Loss = make("loss", loss)
        self.score: Score = make("score", score or default_score(self.loss))
        self.positive = _relation(positive)
        self.negative = _others(self.positive) if negative is None else _relation(negative)
        chosen = keys if isinstance(keys, Sequence) and not isinstance(keys, str) else (keys,)
        self.keys = nn.ModuleList([make("keys", one) for one in chosen])
        self.symmetric, self.weight, self.kernel, self.source = symmetric, weight, kernel, source
        self.name = name or "-".join(dict.fromkeys(_names(query) + _names(key)))
        self.back = nn.ModuleList([copy.deepcopy(one) for one in self.keys]) if symmetric else None
        self._term = term_of(self.loss.takes, type(self.loss).__name__)
        self._sides = [_side(self.keys), *([] if self.back is None else [_side(self.back)])]
        self._check()

    def _check(self) -> None:
        loss, score = type(self.loss).__name__, type(self.score).__name__
        wants, measures = getattr(self.loss, "wants", None), getattr(self.score, "measures", None)
        if self.loss.takes == "scores" and wants and measures and wants != measures:
            raise CrlError(
                f"the contrast {self.name!r}: {loss} wants a {wants}, and {score} measures a {measures}: leave `score` "
                f"out, or take {'l1 or l2' if wants == 'distance' else 'cosine or dot'}"
            )
        if self.key is None and not self._sides[0].memories:
            raise CrlError(f"the contrast {self.name!r} has no keys: name the key's branch, or give it a memory")
        if self.symmetric and (self.key is None or self.per_query):
            raise CrlError(f"the contrast {self.name!r}: keys made for one query, or held by a memory, are no queries")
        if sees_all_queries(self.loss) and (self.key != self.query or len(self.keys) or self.symmetric):
            raise CrlError(f"{loss} wants queries that are the keys: key and query alike, and no other keys")

    @property
    def per_query(self) -> bool:
        """Whether the batch's keys were made for each query."""
        return any(isinstance(one, PerQuery) for one in self.keys)

    @property
    def memories(self) -> Sequence[Memory]:
        """The memories of its keys."""
        return self._sides[0].memories

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches that it reads."""
        return tuple(dict.fromkeys(_names(self.query) + _names(self.key)))

    def build(self, table: Mapping[str, Embeddings]) -> None:
        """Makes the weights that a lazy score has, on embeddings of an example batch."""
        if self.loss.takes == "scores":
            query, key = (table[_names(names)[0]].rows().z[:1] for names in (self.query, self.key or self.query))
            self.score(query, key)

    # -- candidates ----------------------------------------------------------------------------

    def sides(self, table: Mapping[str, Embeddings]) -> Sides:
        """The rows that it reads from the branches' embeddings."""
        flat, dim = (per_query, 1) if self.per_query else (Embeddings.rows, 0)
        query = self._annotated(Embeddings.concat([flat(table[name]) for name in _names(self.query)], dim))
        plain = not len(self.keys)
        if self.key is None:
            return Sides(query, None, None, plain)
        if self.key == self.query:
            # Queries that are their own keys stay one tensor: a kernel may use that.
            return Sides(query, query, distributed.gather(query), plain)
        key = self._annotated(Embeddings.concat([flat(table[name]) for name in _names(self.key)], dim))
        return Sides(query, key, key if self.per_query else distributed.gather(key), plain)

    def pairs(self, table: Mapping[str, Embeddings]) -> Pairs | None:
        """The queries in `table` with all their candidates; None where there is no key yet."""
        pairs = self.candidates(self.sides(table))
        return pairs if pairs.keys else None

    def candidates(self, sides: Sides) -> Pairs:
        """The queries with the batch's keys, and those that its choices add or draw."""
        blocks = [] if sides.keys is None else [sides.keys]
        noise = _noise(sides.keys) if self.per_query else None
        if sides.plain or not len(self.keys):
            return self._pairs(sides.query, blocks, noise)
        left, added = blocks, []
        drawn: list[Pairs] = []
        choices: Iterable[Any] = self.back if sides.back and self.back is not None else self.keys
        for choice in choices:
            if hasattr(choice, "choose"):
                pool = blocks + _held(choice.of)
                drawn += [choice.choose(self._pairs(sides.query, pool))] if pool else []
                left = []
            else:
                added += _held(choice)
        if len(drawn) == 1 and not added:
            return drawn[0]
        chosen = [block for pairs in drawn for block in pairs.keys]
        return self._pairs(sides.query, [*chosen, *left, *added], noise if not (drawn or added) else None)

    def _pairs(self, query: Embeddings, blocks: Sequence[Embeddings], noise: Tensor | None = None) -> Pairs:
        if any(block.z.dim() == 2 for block in blocks) and query.z.dim() == 3 and query.z.shape[1] == 1:
            query = Embeddings(query.z.squeeze(1), {name: column.squeeze(1) for name, column in query.meta.items()})
        elif query.z.dim() == 2 and blocks and all(block.z.dim() == 3 for block in blocks) and len(blocks) == 1:
            query = per_query(query)
        return Pairs(query, tuple(blocks), self.positive, self.negative, noise)

    def _annotated(self, table: Embeddings) -> Embeddings:
        # An encoder may have computed in half precision. On CUDA that is handed on: there a kernel sums such scores in
        # float32.
        z = table.z if table.z.is_cuda and self.loss.takes == "scores" else _single(table.z)
        more: dict[str, Tensor] = {}
        for memory in self.memories:
            # By name, which at every step is ten times quicker than asking for the protocol Annotates.
            if (annotate := getattr(memory, "annotate", None)) is not None:
                more |= annotate(table.meta)
        return Embeddings(z, {**table.meta, **more})

    # -- a step ------------------------------------------------------------------------------------

    def forward(self, table: Mapping[str, Embeddings]) -> Term:
        """The term for these embeddings; in training, the batch's keys wait for `settle`."""
        sides = self.sides(table)
        if self.training and self.memories:
            self._wait(self._sides[0], distributed.gather(sides.query) if sides.keys is None else sides.keys)
            if self.symmetric:
                self._wait(self._sides[1], distributed.gather(sides.query))
        if sides.keys is None and not any(len(_held(memory)) for memory in self.memories):
            return Term(sides.query.z.sum() * 0, distributed.total(torch.tensor(len(sides.query))))
        return self._term(self, sides)

    def _wait(self, side: Side, rows: Embeddings) -> None:
        if rows.z.dim() == 3:
            rows = rows.rows()
        z = _single(rows.z.detach())
        for_memory = getattr(self.score, "for_memory", getattr(self.score, "kept", None))  # as 0.1 called it
        kept = Embeddings(z if for_memory is None else for_memory(z), rows.meta)
        for pending in side.pending:
            pending.append(kept)

    def settle(self) -> None:
        """Hands the memories the keys of the step that has ended, of all its batches in their order."""
        for side in self._sides:
            for memory, pending in zip(side.memories, side.pending, strict=True):
                for keys in pending:
                    memory.update(keys)
                pending.clear()

    def abandon(self) -> None:
        """Forgets the keys of a step that is given up."""
        for side in self._sides:
            for pending in side.pending:
                pending.clear()

    def _load_from_state_dict(self, *args: Any) -> None:
        self.abandon()  # what waits belongs to what was there before
        super()._load_from_state_dict(*args)

    def check(self, table: Mapping[str, Embeddings]) -> None:
        """Whether there is anything to contrast.

        Raises:
            CrlError: no query has a positive, or none has a negative and there is no memory to wait for.
        """
        pairs = self.pairs(table)
        if pairs is None or self.memories:
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


def default_score(loss: Loss) -> Score:
    """The score that a loss wants: a distance, or else the dot product."""
    return L2() if getattr(loss, "wants", None) == "distance" else Dot()


def _side(keys: Iterable[Any]) -> Side:
    """The memories among these choices, or that one of them draws from."""
    found = [one.of if hasattr(one, "choose") else one for one in keys]
    memories = [one for one in found if hasattr(one, "update")]
    return Side(memories, [[] for _ in memories])


def _held(memory: Any) -> list[Embeddings]:
    """What a memory holds as a block of keys, each of a row that is no query's."""
    held = memory.keys() if hasattr(memory, "update") else None
    if held is None:
        return []
    unknown = torch.full((len(held),), -1, device=held.z.device)
    return [Embeddings(held.z, {**held.meta, "row": unknown})]


def _noise(keys: Embeddings | None) -> Tensor | None:
    return None if keys is None else keys.meta.get("log_noise")


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
