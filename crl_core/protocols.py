"""The contracts between the parts of a contrastive method, and what travels between them.

    source -> sampler -> views -> encoder -> representation -> head -> embeddings -> score -> loss

A part is anything that keeps one of these protocols; none asks for a base class of ours. What a
part is configured with, it takes in `__init__`, annotated, and keeps in attributes of the same
names: that is how a pipeline writes its spec. What stands here as a property is only read; a part may have
it as an attribute of its class, as in `takes = "scores"`.
(The names are those of Le-Khac, Healy, Smeaton 2020, section III.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import attrs
import torch
from torch import Tensor, nn

from .errors import CrlError
from .rows import join_rows, move_rows, row_count, take_rows

if TYPE_CHECKING:
    from .pairs import Pairs, Scores, Summed


@attrs.define(eq=False)  # not frozen, which torch.compile can't follow, nor a dataclass, which Lightning would copy
class View:
    """One view of a batch: what an encoder takes, and columns of metadata for its N rows.

    Attributes:
        data: a tensor `[N, …]`, packed tokens, a graph batch, a mapping of these, a list of N raw items; what is a
            row of it, `crl_core/rows.py` says.
        meta: columns `[N]`, or `[N, L]` where a row has L parts (frames, positions).
            `instance` (whole numbers) says which item of the source a row shows; others are the
            field's own: `label`, `time`, `clip`, `node`. In whole numbers, negative means unknown.
        source: the name of the source that a batch comes from, where a run has several.
    """

    data: Any
    meta: Mapping[str, Tensor] = attrs.field(factory=dict)
    source: str | None = None

    def __len__(self) -> int:
        return len(next(iter(self.meta.values()))) if self.meta else row_count(self.data)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> View:
        data = move_rows(self.data, device, non_blocking)
        return View(data, move_rows(self.meta, device, non_blocking), self.source)

    def take(self, index: Tensor | slice) -> View:
        """Some rows: those with these numbers `[n]`, those where a bool `[N]` is True, or a slice."""
        meta = {name: take_rows(column, index) for name, column in self.meta.items()}
        return View(take_rows(self.data, index), meta, self.source)

    @staticmethod
    def join(views: Sequence[View]) -> View:
        """The rows of all views, one below the other, with the columns that all of them have.

        Raises:
            CrlError: their data can't be joined.
        """
        if len(views) == 1:
            return views[0]
        data = join_rows([view.data for view in views])
        return View(data, _shared([view.meta for view in views]), views[0].source)


Views: TypeAlias = Mapping[str, View]


class SameView(dict[str, View]):
    """One clean view that stands for all of a sampler's: an encoder of several views reads it once.

    Drawn views may hold the same data too (dropout alone tells those of SimCSE apart), and are read each.
    """


def _shared(tables: Sequence[Mapping[str, Tensor]], dim: int = 0) -> dict[str, Tensor]:
    """The columns that all have, one below the other."""
    shared = [name for name in tables[0] if all(name in table for table in tables)]
    return {name: torch.cat([table[name] for table in tables], dim) for name in shared}


@attrs.define(eq=False)
class Embeddings:
    """A table of vectors with the metadata of every row.

    Attributes:
        z: `[N, D]`, or `[N, L, D]` (and deeper) for local features, until `rows` flattens them.
        meta: columns whose shape is a prefix of `z.shape[:-1]`. The bool column `valid` marks
            rows that exist: padding, and positions that are not asked for, are False.
        features: whatever else was computed on the way, by name, for other heads and penalties.
    """

    z: Tensor
    meta: Mapping[str, Tensor] = attrs.field(factory=dict)
    features: Mapping[str, Tensor] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return self.z.shape[0]

    def rows(self) -> Embeddings:
        """The same table flat, `[R, D]`, with columns `[R]` and without the invalid rows.

        Local features get the column `position`, 0 … L-1, unless they have one.

        Raises:
            CrlError: a column's shape doesn't fit.
        """
        shape = self.z.shape[:-1]
        if len(shape) == 1 and "valid" not in self.meta and all(c.shape == shape for c in self.meta.values()):
            return self  # as it nearly always is: at every step, small batches notice
        meta = dict(self.meta)
        if len(shape) == 2:
            meta.setdefault("position", torch.arange(shape[1], device=self.z.device).expand(shape))
        flat = {name: _flat(name, column, shape) for name, column in meta.items()}
        z = self.z.reshape(-1, self.z.shape[-1])
        valid = flat.pop("valid", None)
        if valid is not None:
            z, flat = z[valid], {name: column[valid] for name, column in flat.items()}
        return Embeddings(z, flat, self.features)

    @staticmethod
    def concat(tables: Sequence[Embeddings], dim: int = 0) -> Embeddings:
        """Tables one below the other, or along another dimension, with the columns that all of them have."""
        if len(tables) == 1:
            return tables[0]
        return Embeddings(torch.cat([table.z for table in tables], dim), _shared([table.meta for table in tables], dim))

    def mean(self) -> Tensor:
        """`[N, D]`, the mean of each row's local features, of the positions that are `valid` alone.

        A row without such a position is zeros. Embeddings `[N, D]` are returned as they are.

        >>> import torch
        >>> valid = torch.tensor([[True, False]])
        >>> Embeddings(torch.tensor([[[1.0, 3.0], [9.0, 9.0]]]), {"valid": valid}).mean()
        tensor([[1., 3.]])
        """
        if self.z.dim() == 2:
            return self.z
        z = self.z.flatten(1, -2)
        if "valid" not in self.meta:
            return z.mean(1)
        valid = _flat("valid", self.meta["valid"], self.z.shape[:-1]).view(z.shape[:2]).unsqueeze(-1)
        total = torch.where(valid, z, z.new_zeros(())).sum(1)  # whatever padding holds, NaN too
        return total / valid.sum(1).clamp(min=1)


def _flat(name: str, column: Tensor, shape: torch.Size) -> Tensor:
    """`column` repeated over the dimensions of `shape` that it lacks, flat."""
    if column.shape != shape[: column.dim()]:
        raise CrlError(
            f"the column {name!r} has shape {list(column.shape)}, but the embeddings' rows have shape {list(shape)}: "
            f"a column's shape is the rows' shape or the start of it"
        )
    return column.reshape(column.shape + (1,) * (len(shape) - column.dim())).expand(shape).reshape(-1)


class Progress(NamedTuple):
    """How far training has come: `step` of `steps` and `epoch` of `epochs` are done."""

    step: int
    steps: int
    epoch: int
    epochs: int

    @property
    def fraction(self) -> float:
        """From 0 to 1; 0 where nobody knows how many steps there will be."""
        return min(1.0, self.step / self.steps) if self.steps else 0.0


# What a step between views and rows may return: a part that changes what a row is, or knows
# more about it, returns Embeddings; the columns that it gives join those of the view.
Output: TypeAlias = Tensor | Mapping[str, Tensor] | Embeddings
Embed: TypeAlias = Callable[[str], Embeddings]


@runtime_checkable
class Items(Protocol):
    """The items of one split of a source, fetched in batches by a torch `DataLoader`."""

    def __len__(self) -> int: ...

    def __getitems__(self, indices: list[int], /) -> View:
        """The raw items as a view; its column `instance` is their index."""


@runtime_checkable
class OrdersItself(Protocol):
    """Items that say which go together in a batch: neighbours, one speaker, one video."""

    def batches(self, batch_size: int, generator: torch.Generator, /) -> Sequence[Sequence[int] | Tensor]:
        """The indices of every batch of one epoch: lists or tensors, or what `ordered` makes of one long tensor."""


@runtime_checkable
class Stream(Protocol):
    """Items that come one after the other, and whose number nobody knows."""

    def batches_from(
        self, batch_size: int, place: Mapping[str, Any] | None, seed: int, rank: int, world: int
    ) -> Iterator[tuple[View, Mapping[str, Any]]]:
        """Batches of so many items of this process's share, without end, each with the place after it.

        A place is plain data (as JSON has it) that a checkpoint keeps; None is the beginning.
        """


@runtime_checkable
class Source(Protocol):
    """Where items come from (kind `source`).

    One whose data ask for evaluators of their own names them in the attribute `evaluators`.
    """

    @property
    def splits(self) -> tuple[str, ...]:
        """The first is for training, the others for evaluation."""

    def items(self, split: str) -> Items: ...


@runtime_checkable
class Sampler(Protocol):
    """Draws the views of a batch, on the device of its data (definition 1; kind `sampler`)."""

    @property
    def views(self) -> tuple[str, ...]:
        """Their names."""

    def __call__(self, batch: View, /) -> Views: ...

    def clean(self, batch: View, /) -> View | Views:
        """The batch as encoders take it, with nothing random: what evaluation and export see.

        One view stands for all; several are by name, where branches read different ones.
        """


@runtime_checkable
class Reader(Protocol):
    """Makes a batch of what a user holds: texts, paths, arrays, waveforms (kind `reader`)."""

    def __call__(self, items: Sequence[Any], /) -> View:
        """The items as a sampler takes them, with the column `instance`: their places in the sequence."""


@runtime_checkable
class Encoder(Protocol):
    """An `nn.Module`: data to representation (definition 4; kind `encoder`).

    Returns `[N, d]`, `[N, L, d]` for local features, or several by name.
    """

    def __call__(self, data: Any, /) -> Output: ...


@runtime_checkable
class Head(Protocol):
    """An `nn.Module`: one feature, or several by name, to the metric space (definition 5; kind `head`)."""

    def __call__(self, features: Any, /) -> Output: ...


@runtime_checkable
class Score(Protocol):
    """An `nn.Module`: how close queries and keys are; higher means closer (kind `score`).

    Its attribute `measures` is "similarity", or "distance" for negative distances, which are 0 at most. A score that
    is a matrix product in disguise also has `factors`. One that has `for_memory(key)` says so how a memory is to hold
    keys: with the same scores, and less left to do.
    """

    def __call__(self, query: Tensor, key: Tensor, /) -> Tensor:
        """`[N, D]` with `[M, D]` to `[N, M]`, or `[N, 1 | K, D]` with `[N, K, D]` to `[N, K]`."""


@runtime_checkable
class FactorisedScore(Score, Protocol):
    def factors(self, query: Tensor, key: Tensor, /) -> tuple[Tensor, Tensor]:
        """Two tables, made row by row, whose product `query @ key.T` is the score."""


class Loss(Protocol):
    """An `nn.Module`: what makes positives score higher than negatives (definition 6; kind `loss`).

    `takes` says of what it is a function:
        "scores": `loss(scores) -> [N]`, from the reductions of `Scores`, row by row; or `Summed`;
        "pairs": `loss(query, key) -> [P]` of aligned embeddings `[P, D]` of the positive pairs,
            for losses without negatives;
        "batch": `loss(query, key) -> scalar` of the same pairs all together, of all processes, for
            losses of their statistics;
        "embeddings": `loss(embeddings) -> scalar` of one branch: a penalty.

    A loss on scores whose attribute `sees_all_queries` is True isn't row by row: it is handed all queries, of all
    processes, at once, and the keys are these queries; so it may ask for `scores.of_keys`. One whose attribute
    `wants` is "distance" or "similarity" is refused with a score that measures the other. One that has
    `information(scores) -> [N]` so estimates the mutual information of queries and keys, in nats.
    """

    @property
    def takes(self) -> str:
        """One of the words above."""

    def __call__(self, *inputs: Any) -> Tensor: ...


@runtime_checkable
class Memory(Protocol):
    """An `nn.Module`: where keys beyond the batch come from (section III-C; kind `keys`)."""

    def keys(self) -> Embeddings | None:
        """What it holds now, flat, without gradient; None where it holds nothing."""

    def update(self, keys: Embeddings, /) -> None:
        """Takes the batch's keys, after the loss has been computed from what was there before."""


@runtime_checkable
class Chooses(Protocol):
    """An `nn.Module`: which of the batch's keys, or of a memory's, are a query's candidates (kind `keys`).

    `of` is the memory that it chooses from along with the batch's keys, or None.
    """

    @property
    def of(self) -> Memory | None: ...

    def choose(self, pairs: Pairs, /) -> Pairs:
        """The chosen candidates of all of these."""


@runtime_checkable
class Keys(Protocol):
    """What the argument `keys` of a contrast takes (kind `keys`): a `Memory`, one that `Chooses`, or `PerQuery`."""


@runtime_checkable
class Update(Protocol):
    """How a branch gets the weights that it takes from another (section III-C; kind `update`)."""

    @property
    def gradient(self) -> bool:
        """Whether gradients flow through what follows."""

    @property
    def frozen(self) -> bool:
        """Whether what follows is kept in evaluation mode."""

    def follow(self, module: nn.Module, /) -> nn.Module:
        """The module to use instead of `module`: itself, or a copy."""

    def advance(self, module: nn.Module, follower: nn.Module, progress: Progress, /) -> None:
        """Moves a copy, after every step of the optimiser."""


Sparse: TypeAlias = Literal["no", "yes", "only"]


@runtime_checkable
class Optimiser(Protocol):
    """What moves the weights (kind `optimiser`).

    `sparse` says whether it takes sparse gradients: "no", "yes", or "only" these.
    """

    @property
    def sparse(self) -> Sparse: ...

    def __call__(self, groups: list[dict[str, Any]], /) -> torch.optim.Optimizer:
        """An optimiser of torch for these groups of parameters.

        Each has `params`, a list, and what differs from the optimiser's own options: `weight_decay` is 0.0 for
        biases and normalisation. The rate is set on the groups before every step.
        """


@runtime_checkable
class Schedule(Protocol):
    """How a number goes over the training (kind `schedule`)."""

    def __call__(self, progress: Progress, /) -> float:
        """What it is multiplied with in the step that comes after `progress`: the highest is 1."""


@runtime_checkable
class Evaluator(Protocol):
    """What representations are worth (kind `evaluator`).

    `evaluator(train, test, views)` gives figures by name, from flat tables `Embeddings` of the two
    splits, and of two views of the test items (`None` where the sampler doesn't draw two).

    With the attribute `takes = "pipeline"` it is `evaluator(pipeline, source, split)`, of the whole
    pipeline, in evaluation mode and without gradients, and the source whose `split` is the test:
    for what no table can answer. It leaves the pipeline as it was.
    """

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns without which it can't be asked."""

    def __call__(self, *inputs: Any) -> Mapping[str, float]: ...


@runtime_checkable
class Kernel(Protocol):
    """One body of the operation "sum of a loss over all queries" (kind `kernel`)."""

    def unsupported(self, problem: Problem, /) -> list[str]:
        """Why it can't run on these tensors; empty where it can."""

    def preference(self, problem: Problem, /) -> float:
        """Among the bodies that can, the highest runs."""

    def __call__(self, problem: Problem, /) -> Outcome: ...


@runtime_checkable
class Spanning(Kernel, Protocol):
    """A kernel that serves both directions in one traversal where several processes share the work."""

    def spans(self, problem: Problem, /) -> bool:
        """Whether it can, for a symmetric problem of this process's queries and the keys of all."""

    def across(self, problem: Problem, own: slice, /) -> Outcome:
        """Of this process's queries and of its keys, `own`, which are queries too.

        The total's gradient is that of all processes' totals together: all have to weigh them alike.
        """


def sees_all_queries(loss: object) -> bool:
    """Whether it is a loss on scores, or a class of such, that is to see all queries at once; see `Loss`."""
    # `together` is what crl 0.1 called it.
    return bool(getattr(loss, "sees_all_queries", getattr(loss, "together", False)))


class Problem(NamedTuple):
    """What a kernel is asked to compute."""

    pairs: Pairs
    score: Score
    loss: Callable[[Scores], Tensor | Summed]
    symmetric: bool = False
    """Whether the keys, in one block, are queries too; theirs follow the queries' values."""


class Outcome(NamedTuple):
    """What a kernel returns.

    `total` is the differentiable sum over the counted queries; `values` `[N]` are the single
    losses, without gradient (0 where not counted); `counted` `[N]` says which queries have a positive;
    `terms` `[N]` of how many terms each value is the sum: 1, unless the loss says otherwise.
    """

    total: Tensor
    values: Tensor
    counted: Tensor
    terms: Tensor


# Parts with state say so through these, each optional.


@runtime_checkable
class OnStep(Protocol):
    def on_step(self, progress: Progress, /) -> None:
        """Called after every step of the optimiser."""


@runtime_checkable
class OnAbandon(Protocol):
    def abandon(self) -> None:
        """Called when a step is given up: drops what its losses have left to be settled by `on_step`."""


@runtime_checkable
class KeepsFiles(Protocol):
    """A part that has learned what is no tensor, such as the model of a tokeniser: kept with the run, and exported."""

    def files(self) -> Mapping[str, bytes]:
        """What it has learned, by the names of files; empty before."""

    def load_files(self, files: Mapping[str, bytes], /) -> None:
        """Takes over what `files` has given."""


@runtime_checkable
class OnSource(Protocol):
    def on_source(self, items: Items, source: Source, /) -> None:
        """Called before the first step with the training items, which may be a stream, and their source.

        Also when a run goes on: what is known already is compared, not made anew with other numbers. What encoding
        needs of it is the part's own state.
        """


@runtime_checkable
class Counts(Protocol):
    @property
    def counts(self) -> Mapping[str, int]:
        """How many of what a source's items name by number there are: nodes, entities, words."""


@runtime_checkable
class OnEpoch(Protocol):
    def on_epoch(self, progress: Progress, embed: Embed, /) -> None:
        """Called before every epoch; `embed(branch)` gives the training items through a branch."""


@runtime_checkable
class Depicts(Protocol):
    def depict(self, view: View, /) -> Tensor:
        """A sampler's items as pictures for a report: bytes `[N, H, W, 3]`."""


@runtime_checkable
class Annotates(Protocol):
    def annotate(self, meta: Mapping[str, Tensor], /) -> Mapping[str, Tensor]:
        """Further columns for rows with these columns; a memory's reach its contrast's queries and keys."""
