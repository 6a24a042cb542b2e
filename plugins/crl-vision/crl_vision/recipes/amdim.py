from __future__ import annotations

import attrs

from crl_core import MLP, Branch, Contrast, Dot, Encoder, Pipeline, Recipe, Source, same

from ..heads.one_place import OnePlace
from ..losses.clipped_nce import ClippedNCE
from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, maps_for, reader_for, setting_for, training_for


def amdim(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int | None = None,
    width: int = 128,
    clip: float = 10.0,
    penalty: float = 0.05,
) -> Recipe:
    """AMDIM: features of one view know those of the other view at all places, across several scales.

    Paper: Bachman, Hjelm, Buchwalter 2019, Learning Representations by Maximizing Mutual Information
    Across Views

    Checked against: one → five, one → seven and five → five (section 3.4) in both directions, one random
    place of each image as the query of the last; dot products over the root of their width, clipped softly to
    ±10, and 0.05 times their mean square (section 3.2; the authors' code has 0.04 and ±20); every place alone
    against all places of the other view of other images; one encoder for both views, whose maps see little of the
    image each. Differs: a smaller encoder, and heads without the authors' shortcut; all positives are in one loss
    as there.

    Args:
        source: of images; the digits that need no download by default.
        encoder: one with the features `seven` and `five`, maps of places, and `one`, made of them.
        size: of the views in pixels; by default the one of 16, 32, 64 and 128 that is nearest to the images'.
        width: numbers in an embedding.
        clip, penalty: of the scores; see `ClippedNCE`.
    """
    source = source or Digits()
    shape = Shape(source, size)
    if encoder is None:
        maps = maps_for(shape, size)
        encoder, size = maps, maps.size
    five = MLP(width, norm=False)
    contrasts = [
        Contrast(
            query,
            key,
            score=Dot(width**0.5),
            loss=ClippedNCE(clip, penalty),
            positive=same("instance") & ~same("view"),
            negative=~same("instance") & ~same("view"),
        )
        for query, key in (("one", "five"), ("one", "seven"), ("place", "five"))
    ]
    pipeline = Pipeline(
        sampler=Augmented(setting_for(shape), size=size),
        reader=reader_for(shape),
        branches={
            "image": Branch(("a", "b"), encoder=encoder),
            "one": Branch(tap="image.one", head=MLP(width, norm=False)),
            "five": Branch(tap="image.five", head=five),
            "place": Branch(tap="image.five", head=OnePlace(five)),
            "seven": Branch(tap="image.seven", head=MLP(width, norm=False)),
        },
        contrasts=contrasts,
    )
    # All places of all images are candidates, so an epoch takes longer.
    return Recipe(pipeline, source, attrs.evolve(training_for(shape), epochs=30 if shape.few else 20))
