from __future__ import annotations

from itertools import combinations

from crl_core import MLP, Branch, Contrast, CrlError, Encoder, Pipeline, Recipe, Source, Whitening

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for


def w_mse(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int | None = None,
    width: int = 64,
    views: int = 2,
) -> Recipe:
    """W-MSE: two views' embeddings are equal after whitening, which leaves no way to collapse.

    Paper: Ermolov, Siarohin, Sangineto, Sebe 2021, Whitening for Self-Supervised Representation
    Learning

    Checked against: whitening by Cholesky of slices of 2 · width pairs that are dealt at random, each
    view's slice by itself, no affine map, rows of length 1 afterwards, the mean over all pairs of views;
    a head with one hidden layer of 1,024.

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
        width: of the embeddings; a batch has at least twice as many items.
        views: of each image, 2 or 4 in the paper.
    """
    if views < 2 or width < 1:
        raise CrlError(f"at least 2 views of each image and 1 number in an embedding, not {views} and {width}")
    source = source or Digits()
    shape = Shape(source, size)
    sampler = Augmented(setting_for(shape), size=size, count=views)
    first, *others = sampler.views
    pairs = list(combinations(sampler.views, 2))
    pipeline = Pipeline(
        sampler=sampler,
        reader=reader_for(shape),
        branches={
            first: Branch(first, encoder=encoder or encoder_for(shape), head=MLP(width, hidden=1_024)),
            **{name: Branch(name, tracks=first) for name in others},
        },
        contrasts=[Contrast(one, other, loss=Whitening(), weight=1 / len(pairs)) for one, other in pairs],
    )
    return Recipe(pipeline, source, training_for(shape))
