"""How a pipeline is trained: data, kept in the spec of a run."""

from __future__ import annotations

from typing import Literal, get_args

import attrs
from attrs.validators import ge, gt, in_, instance_of, optional

Name = Literal["adamw", "sgd", "lars"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
_whole = instance_of(int)


@attrs.frozen(kw_only=True)
class Training:
    """Everything that a run's result depends on, besides the pipeline and its source.

    Args:
        epochs: how often every item is seen.
        batch_size: items in a step, of all processes together.
        optimiser: AdamW, SGD with momentum, or LARS (You et al. 2017) for batches of thousands.
        learning_rate: at its highest, after the warm-up; from there it falls along half a cosine to 0.
        weight_decay: not applied to biases and normalisation.
        momentum: of SGD and LARS.
        warmup: epochs in which the learning rate rises from 0.
        chunk: rows that are encoded at a time, where a batch's activations don't fit into memory: the loss and
            its gradient are still those of the whole batch.
        clip: gradients with a larger norm are scaled down to this one.
        precision: "bf16-mixed" computes encoders and heads in bfloat16; scores and losses stay in float32.
        seed: of the order of the items and everything else that is random.
        workers: processes that load items; 0 loads them in the training process.
        log_every: steps between two lines of metrics.
        save_every: epochs between two checkpoints; the last epoch is always saved.
    """

    epochs: int = attrs.field(default=100, validator=[_whole, gt(0)])
    batch_size: int = attrs.field(default=256, validator=[_whole, gt(0)])
    optimiser: Name = attrs.field(default="adamw", validator=in_(get_args(Name)))
    learning_rate: float = attrs.field(default=1e-3, validator=gt(0))
    weight_decay: float = attrs.field(default=1e-4, validator=ge(0))
    momentum: float = attrs.field(default=0.9, validator=ge(0))
    warmup: float = attrs.field(default=5.0, validator=ge(0))
    chunk: int | None = attrs.field(default=None, validator=optional(gt(0)))
    clip: float | None = attrs.field(default=None, validator=optional(gt(0)))
    precision: Precision = attrs.field(default="32-true", validator=in_(get_args(Precision)))
    seed: int = attrs.field(default=0, validator=[_whole, ge(0)])
    workers: int = attrs.field(default=0, validator=[_whole, ge(0)])
    log_every: int = attrs.field(default=10, validator=[_whole, gt(0)])
    save_every: int = attrs.field(default=10, validator=[_whole, gt(0)])
