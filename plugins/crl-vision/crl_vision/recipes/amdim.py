from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..heads.one_place import OnePlace
from ..images import DIGITS, Images
from ..losses.clipped_nce import ClippedNCE


# All places of all images are candidates, so an epoch takes longer.
@crl.presets(digits=DIGITS | {"epochs": 30, "width": 128, "clip": 10.0, "penalty": 0.05})
def amdim(images: Images = Images(), width: int = 1_536, clip: float = 20.0, penalty: float = 0.04) -> crl.Recipe:
    """AMDIM: features of one view predict those of the other view at all places, across several scales.

    Paper: Bachman, Hjelm, Buchwalter 2019, Learning Representations by Maximizing Mutual Information Across Views
    Checked: one → five, one → seven and five → five (section 3.4) in both directions, one random place of each image
        as the query of the last; dot products over the root of their width, clipped softly, and a penalty on their
        mean square (section 3.2); every place alone against all places of the other view of other images; one encoder
        for both views, each place of whose maps sees a small part of the image. Numbers are those of the authors'
        code for ImageNet; the paper's own clip is 10.
    Differs: a smaller encoder, which has features `seven`, `five` and `one`; heads without the authors' shortcut;
        SimCLR's views. Their warm-up of 500 steps is a fifth of an epoch.
    """
    images = images.with_maps()
    adam, drops = crl.Adam(2e-4, weight_decay=1e-5, beta1=0.8), crl.StepDecay([0.6, 0.9], factor=0.2, warmup=0.2)
    five = crl.MLP(width, norm=False)
    own, others = same("instance") & ~same("view"), ~same("instance") & ~same("view")
    return images.recipe(
        training=crl.Training(epochs=50, batch_size=480, optimiser=adam, schedule=drops),
        sampler=images.augmented(),
        branches={
            "image": crl.Branch(("a", "b"), encoder=images.network()),
            "one": crl.Branch(tap="image.one", head=crl.MLP(width, norm=False)),
            "five": crl.Branch(tap="image.five", head=five),
            "place": crl.Branch(tap="image.five", head=OnePlace(five)),
            "seven": crl.Branch(tap="image.seven", head=crl.MLP(width, norm=False)),
        },
        contrasts=[
            crl.Contrast(
                query, key, score=crl.Dot(width**0.5), loss=ClippedNCE(clip, penalty), positive=own, negative=others
            )
            for query, key in (("one", "five"), ("one", "seven"), ("place", "five"))
        ],
    )
