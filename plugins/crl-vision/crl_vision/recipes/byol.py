from __future__ import annotations

import attrs

from crl_core import (
    MLP,
    Branch,
    Contrast,
    Encoder,
    Momentum,
    Pipeline,
    Prediction,
    Recipe,
    Regression,
    Scheduled,
    Source,
    same,
)

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for


def byol(
    source: Source | None = None, encoder: Encoder | None = None, size: int | None = None, momentum: float | None = None
) -> Recipe:
    """BYOL: each view predicts the other's embedding by a slowly moving target; no negatives.

    Paper: Grill, Strub, Altché, Tallec, Richemond, Buchatskaya, Doersch, Pires, Guo, Azar, Piot,
    Kavukcuoglu, Munos, Valko 2020, Bootstrap Your Own Latent

    Checked against: 2 - 2 cos in both directions (equation 2), a predictor on the online side alone,
    no gradient to the target, whose momentum rises to 1 along a cosine. Head and predictor are 4,096
    wide as in the paper for a million images, and 1,024 for fewer.
    Differs in the optimiser, AdamW instead of LARS, and in that batch statistics are of both views together.

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
        momentum: at the start; by default 0.996 as in the paper for a million images, and 0.99 for fewer.
    """
    source = source or Digits()
    shape = Shape(source, size)
    hidden = 4_096 if shape.many else 1_024
    if momentum is None:
        momentum = 0.996 if shape.many else 0.99
    views = ("a", "b")
    pipeline = Pipeline(
        sampler=Augmented(setting_for(shape, "byol"), size=size),
        reader=reader_for(shape),
        branches={
            "projection": Branch(views, encoder=encoder or encoder_for(shape), head=MLP(256, hidden=hidden)),
            "online": Branch(tap="projection", head=Prediction(hidden=hidden)),
            "target": Branch(views, tracks="projection", update=Momentum(Scheduled(momentum, 1.0))),
        },
        contrasts=[Contrast("online", "target", loss=Regression(), positive=same("instance") & ~same("view"))],
    )
    training = training_for(shape)
    if shape.few:
        # The target comes along step by step, and few images make few steps: half the batch makes twice as many.
        training = attrs.evolve(training, batch_size=training.batch_size // 2)
    return Recipe(pipeline, source, training)
