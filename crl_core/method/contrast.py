"""A contrast: a comparison of queries with keys, by a score, a loss and relations."""

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
from .terms.term import Sides, TermValue

SAME_INSTANCE = same("instance")


class PendingKeys(NamedTuple):
    """The memories of one direction, and for each the keys that wait for the end of the step."""

    memories: Sequence[Any]
    pending: list[list[Embeddings]]


class Contrast(nn.Module):
    """Compares queries with keys: one term of the loss.

    >>> import crl_core as crl
    >>> contrast = crl.Contrast("query", "key", loss="info-nce", keys=crl.Queue(4096))
    >>> print(contrast.positive, contrast.negative, type(contrast.score).__name__)
    same("instance") ~same("instance") & ~same("row") Dot

    Args:
        query, key: the branches of the queries and of the keys; the rows of several branches stand one below the
            other. Without `key`, all keys come from memories.
        loss: a loss on scores, or on the positive pairs.
        score: higher means closer; by default the dot product, or L2 if the loss wants a distance.
        positive, negative: relations, or their text; by default, all rows that are neither positive nor the
            query's own row are negative. Every row has the columns of its view, and
                `row`: its number, the same for a row that is both query and key, unknown for a key
                    from a memory;
                `batch`: the number of the step in which it was computed;
                `view`: the number of its view, in the sampler's order.
        keys: which keys a query sees, one choice or several: by default the batch's keys. A memory adds its keys,
            and takes the batch's keys at the end of the step (without a key branch, the queries). `Drawn` draws some
            keys for each query. `PerQuery` says that the key branch makes keys for each query.
        symmetric: the keys are also queries, and the queries keys (CLIP): the mean over both directions. Each
            direction has its own memories.
        weight: the weight of this term in the sum; a number, or a `Scheduled`.
        kernel: the kernel that computes it; `"auto"` takes the best one that can.
        name: the name of this term; by default made from the names of the branches.
        source: the name of the source on whose batches this term runs, if a run has several.

    Raises:
        CrlError: the arguments can't be combined.
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
        self._pending = [_pending_keys(self.keys), *([] if self.back is None else [_pending_keys(self.back)])]
        self._check()

    def _check(self) -> None:
        loss, score = type(self.loss).__name__, type(self.score).__name__
        wants, measures = getattr(self.loss, "wants", None), getattr(self.score, "measures", None)
        if self.loss.takes == "scores" and wants and measures and wants != measures:
            raise CrlError(
                f"the contrast {self.name!r}: {loss} wants a {wants}, and {score} measures a {measures}: leave `score` "
                f"out, or take {'l1 or l2' if wants == 'distance' else 'cosine or dot'}"
            )
        if self.key is None and not self._pending[0].memories:
            raise CrlError(f"the contrast {self.name!r} has no keys: name a branch in `key`, or a memory in `keys`")
        if self.symmetric and (self.key is None or self.per_query):
            raise CrlError(
                f"the contrast {self.name!r} is symmetric, but keys per query, and keys of a memory alone, can't be "
                f"queries"
            )
        if sees_all_queries(self.loss) and (self.key != self.query or len(self.keys) or self.symmetric):
            raise CrlError(f"{loss} needs all queries as its keys: the same branch as `query` and `key`, and no `keys`")

    @property
    def per_query(self) -> bool:
        """Whether the key branch makes keys for each query."""
        return any(isinstance(one, PerQuery) for one in self.keys)

    @property
    def memories(self) -> Sequence[Memory]:
        """The memories of its keys."""
        return self._pending[0].memories

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches that it reads."""
        return tuple(dict.fromkeys(_names(self.query) + _names(self.key)))

    def build(self, embeddings: Mapping[str, Embeddings]) -> None:
        """Makes the weights of a lazy score, on the embeddings of an example batch."""
        if self.loss.takes == "scores":
            query, key = (embeddings[_names(names)[0]].rows().z[:1] for names in (self.query, self.key or self.query))
            self.score(query, key)

    # -- candidates ----------------------------------------------------------------------------

    def sides(self, embeddings: Mapping[str, Embeddings]) -> Sides:
        """The rows that it reads from the branches' embeddings."""
        flat, dim = (per_query, 1) if self.per_query else (Embeddings.rows, 0)
        query = self._annotated(Embeddings.concat([flat(embeddings[name]) for name in _names(self.query)], dim))
        plain = not len(self.keys)
        if self.key is None:
            return Sides(query, None, None, plain)
        if self.key == self.query:
            # If the queries are the keys, they stay one tensor: a kernel may use that.
            return Sides(query, query, distributed.gather(query), plain)
        key = self._annotated(Embeddings.concat([flat(embeddings[name]) for name in _names(self.key)], dim))
        return Sides(query, key, key if self.per_query else distributed.gather(key), plain)

    def pairs(self, embeddings: Mapping[str, Embeddings]) -> Pairs | None:
        """The queries in `embeddings` with all their candidates; None if there is no key yet."""
        pairs = self.candidates(self.sides(embeddings))
        return pairs if pairs.keys else None

    def candidates(self, sides: Sides) -> Pairs:
        """The queries, with the keys that `keys` chooses for them."""
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

    def _annotated(self, rows: Embeddings) -> Embeddings:
        # The embeddings may be in half precision. On CUDA they stay so, because a kernel there sums their scores in
        # float32.
        z = rows.z if rows.z.is_cuda and self.loss.takes == "scores" else _single(rows.z)
        annotations: dict[str, Tensor] = {}
        for memory in self.memories:
            # By name, which is ten times faster than an isinstance check with the protocol Annotates.
            if (annotate := getattr(memory, "annotate", None)) is not None:
                annotations |= annotate(rows.meta)
        return Embeddings(z, {**rows.meta, **annotations})

    # -- a step ------------------------------------------------------------------------------------

    def forward(self, embeddings: Mapping[str, Embeddings]) -> TermValue:
        """The term for these embeddings; in training, the batch's keys wait for `settle`."""
        sides = self.sides(embeddings)
        if self.training and self.memories:
            self._wait(self._pending[0], distributed.gather(sides.query) if sides.keys is None else sides.keys)
            if self.symmetric:
                self._wait(self._pending[1], distributed.gather(sides.query))
        if sides.keys is None and not any(len(_held(memory)) for memory in self.memories):
            return TermValue(sides.query.z.sum() * 0, distributed.total(torch.tensor(len(sides.query))))
        return self._term(self, sides)

    def _wait(self, side: PendingKeys, rows: Embeddings) -> None:
        if rows.z.dim() == 3:
            rows = rows.rows()
        z = _single(rows.z.detach())
        for_memory = getattr(self.score, "for_memory", getattr(self.score, "kept", None))  # as 0.1 called it
        keys = Embeddings(z if for_memory is None else for_memory(z), rows.meta)
        for pending in side.pending:
            pending.append(keys)

    def settle(self) -> None:
        """Hands the memories the keys of the step that has ended, in the order of its batches."""
        for side in self._pending:
            for memory, pending in zip(side.memories, side.pending, strict=True):
                for keys in pending:
                    memory.update(keys)
                pending.clear()

    def abandon(self) -> None:
        """Drops the keys of a step that is skipped."""
        for side in self._pending:
            for pending in side.pending:
                pending.clear()

    def _load_from_state_dict(self, *args: Any) -> None:
        self.abandon()  # the keys that wait belong to the old state
        super()._load_from_state_dict(*args)

    def check(self, embeddings: Mapping[str, Embeddings]) -> None:
        """Checks that there are pairs.

        Raises:
            CrlError: no query has a positive; or none has a negative, and no memory will have some later.
        """
        pairs = self.pairs(embeddings)
        if pairs is None or self.memories:
            return
        exist = torch.zeros(2, dtype=torch.bool, device=pairs.query.z.device)
        for rows in pairs.strips():
            exist |= torch.stack([mask.any() for mask in pairs.masks(rows)])
        for some, name in zip(exist.tolist(), ("positive", "negative"), strict=True):
            if not some and (name == "positive" or self.loss.takes == "scores"):
                raise CrlError(
                    f"the contrast {self.name!r}: none of the {len(pairs.query)} queries has a {name} by the relation "
                    f"{getattr(self, name)}. Is the batch too small, or the relation too strict?"
                )


def default_score(loss: Loss) -> Score:
    """The default score of a loss: L2 if it wants a distance, and the dot product otherwise."""
    return L2() if getattr(loss, "wants", None) == "distance" else Dot()


def _pending_keys(keys: Iterable[Any]) -> PendingKeys:
    """The memories among these choices, and those that a choice draws from, without waiting keys."""
    parts = [one.of if hasattr(one, "choose") else one for one in keys]
    memories = [one for one in parts if hasattr(one, "update")]
    return PendingKeys(memories, [[] for _ in memories])


def _held(memory: Any) -> list[Embeddings]:
    """The keys of a memory as a block, with an unknown `row`, so that none is the row of a query."""
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
    """The default of `negative`: neither positive nor the query's own row."""
    if isinstance(positive, And) and positive.right == ~same("row"):
        return ~positive.left & ~same("row")
    return ~positive & ~same("row")
