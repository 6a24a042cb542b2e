"""The contracts between the parts of a contrastive method.

    source -> sampler -> views -> encoder -> representation -> head -> embeddings -> score -> loss

A part is any object that follows one of these protocols; it needs no base class. Its options are
annotated arguments of `__init__`, kept in attributes of the same names: from these, a pipeline writes
its spec. A property here is only read, so a part may have a class attribute instead, as in
`takes = "scores"`. (The names are those of Le-Khac, Healy, Smeaton 2020, section III.)
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
        """From 0 to 1; 0 if the number of steps is unknown."""
        return min(1.0, self.step / self.steps) if self.steps else 0.0


# What an encoder or a head may return. A part that returns other rows than it gets, or adds columns, returns
# Embeddings; their columns are added to those of the view.
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
    """Items that choose which of them are in one batch: neighbours, one speaker, one video."""

    def batches(self, batch_size: int, generator: torch.Generator, /) -> Sequence[Sequence[int] | Tensor]:
        """The indices of each batch of one epoch: lists or tensors, or what `ordered` makes of one long tensor."""


@runtime_checkable
class Stream(Protocol):
    """Items that come one after the other, and whose number is unknown."""

    def batches_from(
        self, batch_size: int, place: Mapping[str, Any] | None, seed: int, rank: int, world: int
    ) -> Iterator[tuple[View, Mapping[str, Any]]]:
        """Yields, without end, a batch of `batch_size` items of this process's share, and the place after it.

        A place is plain data, as in JSON, which a checkpoint saves. None is the beginning.
        """


@runtime_checkable
class Source(Protocol):
    """Where items come from (kind `source`).

    If its data need other evaluators than the default ones, the attribute `evaluators` names them.
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
        """The batch for the encoders, with nothing random: evaluation and export use it.

        Either one view for all branches, or several by name, if branches read different data.
        """


@runtime_checkable
class Reader(Protocol):
    """Turns raw items into a batch: texts, paths, arrays, waveforms (kind `reader`)."""

    def __call__(self, items: Sequence[Any], /) -> View:
        """The batch for the sampler. Its column `instance` is the position in the sequence."""


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

    Its attribute `measures` is "similarity", or "distance" for negative distances, which are at most 0. A score that
    can be written as a matrix product also has `factors`. The optional `for_memory(key)` returns keys with the same
    scores for a memory, so that less has to be computed later.
    """

    def __call__(self, query: Tensor, key: Tensor, /) -> Tensor:
        """`[N, D]` with `[M, D]` to `[N, M]`, or `[N, 1 | K, D]` with `[N, K, D]` to `[N, K]`."""


@runtime_checkable
class FactorisedScore(Score, Protocol):
    def factors(self, query: Tensor, key: Tensor, /) -> tuple[Tensor, Tensor]:
        """Two tables, computed row by row, whose product `query @ key.T` is the score."""


class Loss(Protocol):
    """An `nn.Module`: what makes positives score higher than negatives (definition 6; kind `loss`).

    `takes` says what the loss is computed from:
        "scores": `loss(scores) -> [N]`, one value per query, from the reductions of `Scores`; or `Summed`;
        "pairs": `loss(query, key) -> [P]`, from the embeddings `[P, D]` of the positive pairs,
            for losses without negatives;
        "batch": `loss(query, key) -> scalar`, from the positive pairs of all processes together, for
            losses on statistics;
        "embeddings": `loss(embeddings) -> scalar`, from the embeddings of one branch: a penalty.

    Optional, for a loss on scores:
        sees_all_queries: if True, it gets all queries of all processes at once, and the keys are these queries; so
            it may use `scores.of_keys`.
        wants: "distance" or "similarity"; a score that measures the other is an error.
        information(scores) -> [N]: its estimate of the mutual information of query and key, in nats.
    """

    @property
    def takes(self) -> str:
        """One of the words above."""

    def __call__(self, *inputs: Any) -> Tensor: ...


@runtime_checkable
class Memory(Protocol):
    """An `nn.Module` that stores keys from earlier steps (section III-C; kind `keys`)."""

    def keys(self) -> Embeddings | None:
        """The keys that it holds now, `[M, D]`, without gradient; None if it is empty."""

    def update(self, keys: Embeddings, /) -> None:
        """Stores the keys of a step. It is called at the end of the step, after the loss and its gradient."""


@runtime_checkable
class Chooses(Protocol):
    """An `nn.Module` that chooses the candidates of each query from the keys of the batch (kind `keys`).

    `of` is a memory whose keys it also chooses from, or None.
    """

    @property
    def of(self) -> Memory | None: ...

    def choose(self, pairs: Pairs, /) -> Pairs:
        """The same queries, with the chosen candidates."""


@runtime_checkable
class Keys(Protocol):
    """What the argument `keys` of a contrast takes (kind `keys`): a `Memory`, a part that `Chooses`, or `PerQuery`."""


@runtime_checkable
class Update(Protocol):
    """How a branch gets the weights that it takes from another (section III-C; kind `update`)."""

    @property
    def gradient(self) -> bool:
        """Whether gradients flow through the networks that the branch takes."""

    @property
    def frozen(self) -> bool:
        """Whether the networks that the branch takes stay in evaluation mode."""

    def follow(self, module: nn.Module, /) -> nn.Module:
        """The module to use instead of `module`: itself, or a copy."""

    def advance(self, module: nn.Module, follower: nn.Module, progress: Progress, /) -> None:
        """Updates a copy, after every step of the optimiser."""


Sparse: TypeAlias = Literal["no", "yes", "only"]


@runtime_checkable
class Optimiser(Protocol):
    """The rule by which the weights move (kind `optimiser`).

    `sparse` says whether it takes sparse gradients: "no", "yes", or "only" sparse ones.
    """

    @property
    def sparse(self) -> Sparse: ...

    def __call__(self, groups: list[dict[str, Any]], /) -> torch.optim.Optimizer:
        """An optimiser of torch for these groups of parameters.

        Each group has a list `params`, and the options that differ from the optimiser's own: `weight_decay` is 0.0
        for biases and normalisation. The rate is set on the groups before every step.
        """


@runtime_checkable
class Schedule(Protocol):
    """How a number changes during training (kind `schedule`)."""

    def __call__(self, progress: Progress, /) -> float:
        """The factor of the number in the step after `progress`, at most 1."""


@runtime_checkable
class Evaluator(Protocol):
    """Measures how good representations are (kind `evaluator`).

    `evaluator(train, test, views)` returns numbers by name, from flat tables `Embeddings` of the two
    splits, and of two views of the test items (`None` if the sampler doesn't draw two).

    It may say what it looks at, so that nothing else is read, drawn or kept: `tables`, some of "train", "test" and
    "views" (all three, if it doesn't say; what it doesn't name is None), and `sample`, so many items of a split at
    most, chosen at random, the same every time. What is measured on a sample says so.

    With the attribute `takes = "pipeline"` it is `evaluator(pipeline, source, split)`, of the whole
    pipeline, in evaluation mode and without gradients, and the source whose `split` is the test:
    for what no table can answer. It leaves the pipeline as it was.
    """

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns that it requires."""

    def __call__(self, *inputs: Any) -> Mapping[str, float]: ...


def sees_all_queries(loss: object) -> bool:
    """Whether a loss on scores, or the class of one, needs all queries at once; see `Loss`."""
    # crl 0.1 called this `together`.
    return bool(getattr(loss, "sees_all_queries", getattr(loss, "together", False)))
