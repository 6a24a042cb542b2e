"""The contracts between the parts of a contrastive method.

    source -> sampler -> views -> encoder -> representation -> head -> embeddings -> score -> loss

A part is anything that keeps one of these protocols; none asks for a base class of ours. What a
part is configured with, it takes in `__init__`, annotated, and keeps in attributes of the same
names: that is how a pipeline writes its spec. What stands here as a property is only read; a part may have
it as an attribute of its class, as in `takes = "scores"`.
(The names are those of Le-Khac, Healy, Smeaton 2020, section III.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from ..data.pairs import Pairs
from ..data.view import Embeddings, View, Views


class Progress(NamedTuple):
    """How far training has come: `step` of `steps` and `epoch` of `epochs` are done.

    >>> import crl_core as crl
    >>> crl.Progress(step=25, steps=100, epoch=2, epochs=10).fraction
    0.25
    """

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

    It may say what it looks at, so that nothing else is read, drawn or kept: `tables`, some of "train", "test" and
    "views" (all three, if it doesn't say; what it doesn't name is None), and `sample`, so many items of a split at
    most, chosen at random, the same every time. What is measured on a sample says so.

    With the attribute `takes = "pipeline"` it is `evaluator(pipeline, source, split)`, of the whole
    pipeline, in evaluation mode and without gradients, and the source whose `split` is the test:
    for what no table can answer. It leaves the pipeline as it was.
    """

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns without which it can't be asked."""

    def __call__(self, *inputs: Any) -> Mapping[str, float]: ...


def sees_all_queries(loss: object) -> bool:
    """Whether it is a loss on scores, or a class of such, that is to see all queries at once; see `Loss`."""
    # `together` is what crl 0.1 called it.
    return bool(getattr(loss, "sees_all_queries", getattr(loss, "together", False)))
