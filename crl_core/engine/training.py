"""How a pipeline is trained: data, kept in the spec of a run."""

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
    found: Optimiser = make("optimiser", what)
    return found


def _schedule(what: Schedule | type[Schedule] | str) -> Schedule:
    found: Schedule = make("schedule", what)
    return found


@attrs.frozen
class Group:
    """Weights that are trained with options of their own.

    >>> import crl_core as crl
    >>> predictor = crl.Group("branches.prediction.head", schedule=crl.Constant())  # SimSiam's predictor
    >>> head = crl.Group("branches.query.head", rate=10.0)
    >>> crl.Training(groups=[predictor, head]).groups[1].rate
    10.0

    Args:
        place: of the part that has them, in the words of the spec, or the name of one parameter. Of several groups, a
            parameter belongs to the one with the longest place.
        rate: multiplies the optimiser's learning rate.
        weight_decay: instead of the optimiser's; biases and normalisation never decay.
        schedule: instead of the training's.
        optimiser: instead of the training's.

    Raises:
        ValueError: a number is out of its range.
    """

    place: str
    rate: float = attrs.field(default=1.0, kw_only=True, validator=gt(0))
    weight_decay: float | None = attrs.field(default=None, kw_only=True, validator=optional(ge(0)))
    schedule: Schedule | None = attrs.field(default=None, kw_only=True, converter=maybe(_schedule))
    optimiser: Optimiser | None = attrs.field(default=None, kw_only=True, converter=maybe(_optimiser))


@attrs.frozen(kw_only=True)
class Training:
    """Everything that a run's result depends on, besides the pipeline and its source.

    >>> import crl_core as crl
    >>> crl.Training(batch_size=512, optimiser=crl.SGD(0.06, momentum=0.9), schedule="cosine-decay").schedule
    CosineDecay(warmup=0.0, final=0.0)

    Args:
        epochs: how often every item is seen.
        steps: of an epoch, where the items are a stream; of others, it is their number that tells.
        batch_size: items in a step, of all processes and micro-batches together.
        accumulate: micro-batches into which a step's batch is cut; the gradient is that of their mean. A query sees
            the keys of its own micro-batch, and what memories held before the step; they take all keys after it.
        optimiser: AdamW by default; biases and normalisation are never decayed.
        schedule: what the optimiser's learning rate is multiplied with.
        groups: weights that are trained in a way of their own.
        chunk: rows that are encoded at a time, where a batch's activations don't fit into memory: the loss and
            its gradient are still those of the whole batch.
        clip: gradients with a larger norm are scaled down to this one.
        precision: "bf16-mixed" computes encoders and heads in bfloat16; scores and losses stay in float32.
        seed: of the order of the items and everything else that is random.
        workers: processes that load items; 0 loads them in the training process.
        log_every: steps between two lines of metrics.
        save_every: epochs between two checkpoints; the last epoch is always saved.
        terms: names of the contrasts and penalties that count, in this stage of a training; all by default.
        freeze: places whose weights this stage leaves as they are.
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
        CrlError: there is none, or they have not one precision.
    """
    stages = [training] if isinstance(training, Training) else list(training)
    if not stages or len({stage.precision for stage in stages}) > 1:
        raise CrlError("a training has a stage, and all its stages have one precision")
    return stages
