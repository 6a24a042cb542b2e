from __future__ import annotations

from crl_core import MLP, BarlowTwins, Branch, Contrast, Encoder, Pipeline, Recipe, Source

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for


def barlow_twins(
    source: Source | None = None, encoder: Encoder | None = None, size: int | None = None, redundancy: float = 0.005
) -> Recipe:
    """Barlow Twins: the dimensions of two views' embeddings are to correlate each with itself alone.

    Paper: Zbontar, Jing, Misra, LeCun, Deny 2021, Barlow Twins: Self-Supervised Learning via
    Redundancy Reduction

    Checked against: the cross-correlation of the two views (equations 1 and 2), lambda 0.005, BYOL's
    views, a head of three equally wide layers: 8,192 for a million images as in the paper, 1,024 for
    fewer. Differs in the optimiser: AdamW instead of LARS.

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
        redundancy: lambda, the weight of what different dimensions share.
    """
    source = source or Digits()
    shape = Shape(source, size)
    width = 8_192 if shape.many else 1_024
    pipeline = Pipeline(
        sampler=Augmented(setting_for(shape, "byol"), size=size),
        reader=reader_for(shape),
        branches={
            "one": Branch("a", encoder=encoder or encoder_for(shape), head=MLP(width, hidden=width, depth=3)),
            "other": Branch("b", tracks="one"),
        },
        contrasts=[Contrast("one", "other", loss=BarlowTwins(redundancy))],
    )
    return Recipe(pipeline, source, training_for(shape))
