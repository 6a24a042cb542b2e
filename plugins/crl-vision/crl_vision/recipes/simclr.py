from __future__ import annotations

from crl_core import MLP, Cosine, Encoder, InfoNCE, Pipeline, Recipe, Source, same

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for


def simclr(
    source: Source | None = None, encoder: Encoder | None = None, size: int | None = None, temperature: float = 0.5
) -> Recipe:
    """SimCLR: two views of each image, every view of another image in the batch a negative.

    Paper: Chen, Kornblith, Norouzi, Hinton 2020, A Simple Framework for Contrastive Learning of
    Visual Representations

    Checked against: the closed form of NT-Xent (equation 1); cosine scores at temperature 0.5,
    a head of two layers as wide as the encoder, half colour strength and no blur for small images
    (appendix B.9). Differs in the optimiser: AdamW instead of LARS, which suits batches of thousands.

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
    """
    source = source or Digits()
    shape = Shape(source, size)
    pipeline = Pipeline(
        sampler=Augmented(setting_for(shape), size=size),
        reader=reader_for(shape),
        encoder=encoder or encoder_for(shape),
        head=MLP(128),
        score=Cosine(temperature),
        loss=InfoNCE(),
        positive=same("instance") & ~same("row"),
    )
    return Recipe(pipeline, source, training_for(shape))
