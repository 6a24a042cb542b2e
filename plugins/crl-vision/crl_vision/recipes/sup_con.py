from __future__ import annotations

from crl_core import MLP, Cosine, Encoder, InfoNCE, Pipeline, Recipe, Source, same

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for


def sup_con(
    source: Source | None = None, encoder: Encoder | None = None, size: int | None = None, temperature: float = 0.1
) -> Recipe:
    """SupCon: all views of all images with the same label are positives.

    Paper: Khosla, Teterwak, Wang, Sarna, Tian, Isola, Maschinot, Liu, Krishnan 2020, Supervised
    Contrastive Learning

    Checked against: L_out of equation 2, the mean over the positives outside the logarithm, at
    temperature 0.1; a view is never its own positive, and a label that occurs once still has its
    other view. Images without a label (-1) have their other view alone.

    Args:
        source: of images with labels; the digits that need no download by default.
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
        loss=InfoNCE(positives="outside"),
        positive=(same("label") | same("instance")) & ~same("row"),
    )
    return Recipe(pipeline, source, training_for(shape))
