from __future__ import annotations

from crl_core import (
    L2,
    Branch,
    Contrast,
    CrlError,
    Encoder,
    Linear,
    Pipeline,
    Recipe,
    Relation,
    Source,
    Triplet,
    Unit,
    same,
)

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for


def deep_ranking(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int | None = None,
    margin: float = 0.2,
    within: float = 0.2,
) -> Recipe:
    """Deep ranking: the more relevant image is nearer than the less relevant one, by a margin.

    Paper: Wang, Song, Leung, Rosenberg, Wang, Philbin, Chen, Wu 2014, Learning Fine-Grained Image Similarity with
    Deep Ranking

    Checked against: the hinge of squared distances of embeddings of length 1 (equation 3), and triplets of two kinds,
    whose negative is of another category or less relevant within the same one. Relevance has three grades here:
    another view of the image, an image of the same label, any other. The paper's are numbers, by features that are
    not public, and triplets are drawn by them; all triplets of a batch count here, and `within` weighs the two kinds.

    Args:
        source: of images with labels; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
        margin: the gap between the two squared distances.
        within: weight of the triplets within a label; those with another label have the rest of 1.
    """
    if not 0 <= within <= 1:
        raise CrlError(f"within is a share of the objective, from 0 to 1, not {within}")
    source = source or Digits()
    shape = Shape(source, size)
    sampler = Augmented(setting_for(shape), size=size)

    def ranked(name: str, near: Relation, far: Relation, weight: float) -> Contrast:
        score, loss = L2(squared=True), Triplet(margin)
        return Contrast("image", "image", score=score, loss=loss, positive=near, negative=far, weight=weight, name=name)

    view, label = same("instance") & ~same("row"), same("label") & ~same("row")
    pipeline = Pipeline(
        sampler=sampler,
        reader=reader_for(shape),
        branches={"image": Branch(sampler.views, encoder=encoder or encoder_for(shape), head=Unit(Linear(128)))},
        contrasts=[
            ranked("within", view, same("label") & ~same("instance"), within),
            ranked("between", label, ~same("label"), 1 - within),
        ],
    )
    return Recipe(pipeline, source, training_for(shape))
