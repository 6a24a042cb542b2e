from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..heads.pieces import Pieces
from ..images import DIGITS, Images


@crl.presets(digits=DIGITS | {"width": 128, "hidden": 256})
def dim(
    images: Images = Images(),
    width: int = 2_048,
    hidden: int = 2_048,
    loss: crl.Loss | None = None,
    local_weight: float = 1.0,
    global_weight: float = 0.0,
) -> crl.Recipe:
    """Deep InfoMax: an image's vector recognises every place of its own map among all places of other images' maps.

    Paper: Hjelm, Fedorov, Lavoie-Marchildon, Grewal, Bachman, Trischler, Bengio 2019, Learning Deep Representations by
        Mutual Information Estimation and Maximization
    Checked: DIM(L) with encode-and-dot (section 3.2, figure 4): the vector is made of the map, a network of two layers
        for the vector and one of 1×1 convolutions for the map, their dot product, and the Jensen-Shannon estimate
        (equation 4) with the N·(N·L) scores of a batch. With a global weight, DIM(G) (section 3.1). Training as for
        CIFAR-10.
    Differs: the prior is not matched (section 3.3); images are augmented, once, where the paper has them as they are;
        another encoder, which has features `seven`, a map of 7×7 places, and `one`; heads without shortcuts.

    Args:
        loss: by default Jensen-Shannon; `info-nce` or `core/donsker-varadhan` are the paper's others.
        local_weight, global_weight: of the vector against places, and against whole maps.
    """
    images, loss = images.with_maps(), loss or crl.JensenShannon()
    branches = {
        "image": crl.Branch("a", encoder=images.network()),
        "vector": crl.Branch(tap="image.one", head=crl.MLP(width, hidden=hidden, norm=False)),
        "places": crl.Branch(tap="image.seven", head=crl.MLP(width, hidden=hidden, norm=False)),
    }
    contrasts = [crl.Contrast("vector", "places", loss=loss, negative=~same("instance"), weight=local_weight)]
    if global_weight:
        branches["map"] = crl.Branch(tap="image.seven", head=Pieces(width, pieces=49))
        contrasts.append(crl.Contrast("vector", "map", loss=loss, negative=~same("instance"), weight=global_weight))
    return images.recipe(
        training=crl.Training(epochs=1_000, batch_size=64, optimiser=crl.Adam(1e-4), schedule=crl.Constant()),
        sampler=images.augmented(count=1),
        branches=branches,
        contrasts=contrasts,
    )
