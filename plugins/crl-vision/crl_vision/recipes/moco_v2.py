from __future__ import annotations

from crl_core import MLP, Encoder, Pipeline, Recipe, Source

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for
from .momentum_contrast import against_the_queue, query_and_key


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
    step together, which stands in for shuffling them between devices. Differs in the optimiser: AdamW instead
    of SGD.

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
        queue: keys remembered; by default 65,536 as in the paper for a million images, and 4,096 for fewer.
        momentum: by default 0.999 as in the paper for a million images, and 0.99 for fewer.
    """
    source = source or Digits()
    shape = Shape(source, size)
    pipeline = Pipeline(
        sampler=Augmented(setting_for(shape, "moco-v2"), size=size),
        reader=reader_for(shape),
        branches=query_and_key(shape, encoder or encoder_for(shape), MLP(128, norm=False), momentum),
        contrasts=[against_the_queue(shape, temperature, queue)],
    )
    return Recipe(pipeline, source, training_for(shape))
