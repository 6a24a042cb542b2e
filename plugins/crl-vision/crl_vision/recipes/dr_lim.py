from __future__ import annotations

from crl_core import L2, Branch, Contrast, Drawn, Encoder, Pair, Pipeline, Recipe, Source

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for


def dr_lim(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int | None = None,
    margin: float = 1.0,
    neighbours: str = 'same("instance") & ~same("row")',
    negatives: int = 4,
) -> Recipe:
    """DrLIM: neighbours, however they are known, are mapped near each other, and other images a margin apart.

    Paper: Hadsell, Chopra, LeCun 2006, Dimensionality Reduction by Learning an Invariant Mapping

    Checked against: D² for neighbours and max(0, margin - D)² for others (equation 4, without the factors ½).
    Neighbours are a relation: by default two views of one image, as the shifted digits of section 3.2. For images in
    order it may be within("time", 2) & ~same("row"), and for labels same("label") & ~same("row").

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
        margin: of the distance.
        neighbours: which images are, as the text of a relation.
        negatives: drawn for each query and its neighbour; all of a batch would outweigh that one.
    """
    source = source or Digits()
    shape = Shape(source, size)
    sampler = Augmented(setting_for(shape), size=size)
    pipeline = Pipeline(
        sampler=sampler,
        reader=reader_for(shape),
        branches={"image": Branch(sampler.views, encoder=encoder or encoder_for(shape))},
        contrasts=[
            Contrast("image", "image", score=L2(), loss=Pair(margin), positive=neighbours, keys=Drawn(negatives)),
        ],
    )
    return Recipe(pipeline, source, training_for(shape))
