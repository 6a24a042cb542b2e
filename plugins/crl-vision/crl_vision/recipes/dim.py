from __future__ import annotations

from crl_core import MLP, Branch, Contrast, Encoder, JensenShannon, Loss, Pipeline, Recipe, Source, same

from ..heads.pieces import Pieces
from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, maps_for, reader_for, setting_for, training_for


def dim(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int | None = None,
    loss: Loss | None = None,
    local_weight: float = 1.0,
    global_weight: float = 0.0,
) -> Recipe:
    """Deep InfoMax: an image's vector knows every place of its own map from all places of other images' maps.

    Paper: Hjelm, Fedorov, Lavoie-Marchildon, Grewal, Bachman, Trischler, Bengio 2019, Learning Deep
    Representations by Mutual Information Estimation and Maximization

    Checked against: DIM(L) with encode-and-dot (section 3.2, figure 4): the vector is made of the map, a
    network of two layers for the vector and one of 1×1 convolutions for the map, their dot product, and the
    Jensen-Shannon estimate (equation 4) with the N·(N·L) scores of a batch. With a global weight, DIM(G)
    (section 3.1). Differs: the prior is not matched (section 3.3), and images are augmented, once, where the
    paper has them as they are.

    Args:
        source: of images; the digits that need no download by default.
        encoder: one with the features `seven`, a map of 7×7 places, and `one`, made of it.
        size: of the view in pixels; by default the one of 16, 32, 64 and 128 that is nearest to the images'.
        loss: by default Jensen-Shannon; `info-nce` or `core/donsker-varadhan` are the paper's others.
        local_weight, global_weight: of the vector against places, and against whole maps.
    """
    source = source or Digits()
    shape = Shape(source, size)
    if encoder is None:
        maps = maps_for(shape, size)
        encoder, size = maps, maps.size
    branches = {
        "image": Branch("a", encoder=encoder),
        "vector": Branch(tap="image.one", head=MLP(128, hidden=256, norm=False)),
        "places": Branch(tap="image.seven", head=MLP(128, hidden=256, norm=False)),
    }
    loss = loss or JensenShannon()
    contrasts = [Contrast("vector", "places", loss=loss, negative=~same("instance"), weight=local_weight)]
    if global_weight:
        branches["map"] = Branch(tap="image.seven", head=Pieces(128, pieces=49))
        contrasts.append(Contrast("vector", "map", loss=loss, negative=~same("instance"), weight=global_weight))
    sampler = Augmented(setting_for(shape), size=size, count=1)
    pipeline = Pipeline(sampler, reader=reader_for(shape), branches=branches, contrasts=contrasts)
    return Recipe(pipeline, source, training_for(shape))
