from __future__ import annotations

import attrs

from crl_core import (
    MLP,
    Branch,
    Contrast,
    Encoder,
    Pipeline,
    Prediction,
    Recipe,
    Regression,
    Source,
    StopGradient,
    same,
)

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for


def simsiam(source: Source | None = None, encoder: Encoder | None = None, size: int | None = None) -> Recipe:
    """SimSiam: each view predicts the other's embedding, which gets no gradient; no negatives, no momentum.

    Paper: Chen, He 2021, Exploring Simple Siamese Representation Learning

    Checked against: the symmetric loss (equation 2, here 2 - 2 cos), a stop-gradient on the embedding
    that is predicted, a head of three layers and a predictor whose hidden layer has a quarter of their
    width: 2,048 and 512 for a million images as in the paper, 512 and 128 for fewer. Batch statistics are
    of both views together. Differs in the optimiser: AdamW instead of SGD.

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
    """
    source = source or Digits()
    shape = Shape(source, size)
    width = 2_048 if shape.many else 512
    sampler = Augmented(setting_for(shape, "moco-v2"), size=size)
    pipeline = Pipeline(
        sampler=sampler,
        reader=reader_for(shape),
        branches={
            "projection": Branch(
                sampler.views,
                encoder=encoder or encoder_for(shape),
                head=MLP(width, hidden=width, depth=3, final_norm=True),
            ),
            "prediction": Branch(tap="projection", head=Prediction(hidden=width // 4)),
            "target": Branch(tap="projection", update=StopGradient()),
        },
        contrasts=[Contrast("prediction", "target", loss=Regression(), positive=same("instance") & ~same("view"))],
    )
    training = training_for(shape)
    if shape.few:
        # As for BYOL: what predicts and what is predicted come along step by step, and half the batch makes more steps.
        training = attrs.evolve(training, batch_size=training.batch_size // 2)
    return Recipe(pipeline, source, training)
