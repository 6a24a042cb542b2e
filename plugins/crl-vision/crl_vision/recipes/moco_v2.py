from __future__ import annotations

from crl_core.branch import Branch
from crl_core.contrast import Contrast
from crl_core.parts.heads.mlp import MLP
from crl_core.parts.losses.info_nce import InfoNCE
from crl_core.parts.memories.queue import Queue
from crl_core.parts.scores.cosine import Cosine
from crl_core.parts.updates.momentum import Momentum
from crl_core.pipeline import Pipeline
from crl_core.protocols import Encoder, Source
from crl_core.recipe import Recipe
from crl_core.relation import same

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, training_for


def moco_v2(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int | None = None,
    temperature: float = 0.2,
    queue: int | None = None,
    momentum: float | None = None,
) -> Recipe:
    """MoCo v2: one view against the other by a momentum encoder, and a queue of earlier keys as negatives.

    Paper: He, Fan, Wu, Xie, Girshick 2020, Momentum Contrast for Unsupervised Visual Representation
    Learning; Chen, Fan, Girshick, He 2020, Improved Baselines with Momentum Contrastive Learning

    Checked against: the momentum law (equation 2), keys queued after the loss, no gradient to the
    key encoder, a head of two layers without batch normalisation, temperature 0.2. An earlier key of
    the query's own image is neither positive nor negative. Batch normalisation sees all keys of a
    step together, which stands in for shuffling them between devices.

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
        queue: keys remembered; by default 65,536 as in the paper for a million images, and 4,096 for fewer.
        momentum: by default 0.999 as in the paper for a million images, and 0.99 for fewer.
    """
    source = source or Digits()
    shape = Shape(source)
    many = shape.count >= 1_000_000
    if momentum is None:
        momentum = 0.999 if many else 0.99
    if queue is None:
        queue = 65_536 if many else 4_096
    pipeline = Pipeline(
        sampler=Augmented("strokes" if shape.drawn else "moco-v2", size=size),
        branches={
            "query": Branch("a", encoder=encoder or encoder_for(shape), head=MLP(128, norm=False)),
            "key": Branch("b", tracks="query", update=Momentum(momentum)),
        },
        contrasts=[
            Contrast(
                "query",
                "key",
                score=Cosine(temperature),
                loss=InfoNCE(),
                positive=same("instance") & same("batch"),
                negative=~same("instance") & ~same("batch"),
                memory=Queue(queue),
            )
        ],
    )
    return Recipe(pipeline, source, training_for(shape))
