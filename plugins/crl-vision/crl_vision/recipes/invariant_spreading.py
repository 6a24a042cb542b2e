from __future__ import annotations

from crl_core import Cosine, Encoder, InvariantSpreading, Linear, Pipeline, Recipe, Source, same

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for


def invariant_spreading(
    source: Source | None = None, encoder: Encoder | None = None, size: int | None = None, temperature: float = 0.1
) -> Recipe:
    """Invariant and spreading instance features: each view is told from the batch, and the batch not taken for it.

    Paper: Ye, Zhang, Yuen, Chang 2019, Unsupervised Embedding Learning via Invariant and Spreading
    Instance Feature

    Checked against: the two terms of equation 6 as in the authors' code, where both views are queries and
    all other views are keys; temperature 0.1, a linear head to 128 numbers of length 1.

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
    """
    source = source or Digits()
    shape = Shape(source, size)
    pipeline = Pipeline(
        sampler=Augmented(setting_for(shape, "moco-v1"), size=size),
        reader=reader_for(shape),
        encoder=encoder or encoder_for(shape),
        head=Linear(128),
        score=Cosine(temperature),
        loss=InvariantSpreading(),
        positive=same("instance") & ~same("row"),
    )
    return Recipe(pipeline, source, training_for(shape))
