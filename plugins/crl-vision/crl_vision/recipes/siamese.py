from __future__ import annotations

from crl_core import L2, Encoder, Pair, Pipeline, Recipe, Source, same

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for


def siamese(
    source: Source | None = None, encoder: Encoder | None = None, size: int | None = None, margin: float = 1.0
) -> Recipe:
    """Siamese network: images with the same label are near, others at least a margin apart.

    Paper: Chopra, Hadsell, LeCun 2005, Learning a Similarity Metric Discriminatively, with Application
    to Face Verification

    Checked against: the pair loss as Le-Khac et al. 2020 write it (equation 2): D² for a positive pair, and
    max(0, margin - D²) for a negative one, of Euclidean distances. Chopra's own loss has the L1 norm and
    an exponential. The form of DrLIM, max(0, margin - D)², is the recipe `dr-lim`. Pairs are all of a batch,
    of one augmented view of each image.

    Args:
        source: of images with labels; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
        margin: of the squared distance.
    """
    source = source or Digits()
    shape = Shape(source, size)
    pipeline = Pipeline(
        sampler=Augmented(setting_for(shape), size=size, count=1),
        reader=reader_for(shape),
        encoder=encoder or encoder_for(shape),
        score=L2(),
        loss=Pair(margin, form="squared"),
        positive=same("label") & ~same("row"),
    )
    return Recipe(pipeline, source, training_for(shape))
