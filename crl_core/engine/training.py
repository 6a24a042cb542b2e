"""How a pipeline is trained, as data for the spec of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import attrs
from attrs.converters import optional as maybe
from attrs.validators import deep_iterable, ge, gt, in_, instance_of, optional

from ..contracts.parts import Optimiser, Schedule
from ..errors import CrlError
from ..parts.optimisers.adamw import AdamW
from ..parts.schedules.cosine_decay import CosineDecay
from ..registry import make

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
_whole = instance_of(int)


def _optimiser(what: Optimiser | type[Optimiser] | str) -> Optimiser:
    optimiser: Optimiser = make("optimiser", what)
    return optimiser


def _schedule(what: Schedule | type[Schedule] | str) -> Schedule:
    schedule: Schedule = make("schedule", what)
    return schedule


@attrs.frozen
class Group:
    """The weights at one place, with their own rate, weight decay, schedule or optimiser.

    >>> import crl_core as crl
    >>> predictor = crl.Group("branches.prediction.head", schedule=crl.Constant())  # SimSiam's predictor
    >>> head = crl.Group("branches.query.head", rate=10.0)
    >>> crl.Training(groups=[predictor, head]).groups[1].rate
    10.0

    Args:
        place: the place in the spec of the part with the weights, or the name of one parameter. A parameter belongs to
            the group with the longest place.
        rate: the factor of the optimiser's learning rate.
        weight_decay: replaces that of the optimiser; biases and normalisation never decay.
        schedule: replaces that of the training.
        optimiser: replaces that of the training.

    Raises:
        ValueError: a number is out of range.
    """

    place: str
    rate: float = attrs.field(default=1.0, kw_only=True, validator=gt(0))
    weight_decay: float | None = attrs.field(default=None, kw_only=True, validator=optional(ge(0)))
    schedule: Schedule | None = attrs.field(default=None, kw_only=True, converter=maybe(_schedule))
    optimiser: Optimiser | None = attrs.field(default=None, kw_only=True, converter=maybe(_optimiser))


@attrs.frozen(kw_only=True)
class Training:
    """How a pipeline is trained: epochs, batch size, optimiser, schedule and so on.

    >>> import crl_core as crl
    >>> crl.Training(batch_size=512, optimiser=crl.SGD(0.06, momentum=0.9), schedule="cosine-decay").schedule
    CosineDecay(warmup=0.0, final=0.0)

    Args:
        epochs: the number of passes over all items.
        steps: the number of steps in an epoch. A stream needs it; for other items it is a maximum.
        batch_size: the number of items in a step, over all processes and micro-batches.
        accumulate: the number of micro-batches in a step; the gradient is that of their mean loss. A query sees the
            keys of its own micro-batch, and those that memories held before the step. Memories take all keys after it.
        optimiser: AdamW by default; biases and normalisation never decay.
        schedule: the factor of the optimiser's learning rate over time.
        groups: weights with their own settings.
        chunk: the number of rows that are encoded at a time, if the activations of a batch don't fit into memory; the
            loss and its gradient are still those of the whole batch.
        clip: the largest norm of the gradient; larger gradients are scaled down to it.
        precision: "bf16-mixed" computes encoders and heads in bfloat16; scores and losses stay in float32.
        seed: the seed of the order of items and of all other random numbers.
        workers: the number of processes that load items; 0 loads them in the training process.
        log_every: the number of steps between two lines of metrics.
        save_every: the number of epochs between two checkpoints; the last epoch is always saved.
        terms: the names of the contrasts and penalties that run in this stage; all by default.
        freeze: the places whose weights this stage freezes.
    """

    epochs: int = attrs.field(default=100, validator=[_whole, gt(0)])
    steps: int | None = attrs.field(default=None, validator=optional([_whole, gt(0)]))
    batch_size: int = attrs.field(default=256, validator=[_whole, gt(0)])
    accumulate: int = attrs.field(default=1, validator=[_whole, gt(0)])
    optimiser: Optimiser = attrs.field(default=AdamW(1e-3, weight_decay=1e-4), converter=_optimiser)
    schedule: Schedule = attrs.field(default=CosineDecay(warmup=5.0), converter=_schedule)
    groups: list[Group] = attrs.field(factory=list, validator=deep_iterable(instance_of(Group)))
    chunk: int | None = attrs.field(default=None, validator=optional(gt(0)))
    clip: float | None = attrs.field(default=None, validator=optional(gt(0)))
    precision: Precision = attrs.field(default="32-true", validator=in_(get_args(Precision)))
    seed: int = attrs.field(default=0, validator=[_whole, ge(0)])
    workers: int = attrs.field(default=0, validator=[_whole, ge(0)])
    log_every: int = attrs.field(default=10, validator=[_whole, gt(0)])
    save_every: int = attrs.field(default=10, validator=[_whole, gt(0)])
    terms: list[str] | None = attrs.field(default=None)
    freeze: list[str] = attrs.field(factory=list)


def stages_of(training: Training | Sequence[Training]) -> list[Training]:
    """The stages of a training.

    Raises:
        CrlError: there are none, or their precisions differ.
    """
    stages = [training] if isinstance(training, Training) else list(training)
    if not stages or len({stage.precision for stage in stages}) > 1:
        raise CrlError("a training has at least one stage, and all its stages have the same precision")
    return stages
