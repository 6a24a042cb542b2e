from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..encoders.patchwise import Patchwise
from ..heads.below import Below
from ..images import DIGITS, Images
from ..samplers.patches import Patches


# Every image has 49 patches: a small batch is a large one, and an epoch takes longer.
@crl.presets(digits=DIGITS | {"epochs": 20, "batch_size": 16, "accumulate": 1, "clip": None, "hidden": 64})
def cpc_v2(images: Images = Images(), first: int = 3, last: int = 5, hidden: int = 256) -> crl.Recipe:
    """CPC v2: patches are predicted from all four sides, with layer normalisation and changes to each patch.

    Paper: Hénaff, Srinivas, De Fauw, Razavi, Doersch, Eslami, van den Oord 2020, Data-Efficient Image Recognition with
        Contrastive Predictive Coding
    Checked: the pseudo-code of appendix A: five masked layers of 256 channels, predictions and patches in 64 numbers,
        scores divided by 10, the first two rows ahead left out, negatives from the whole micro-batch of 16 images;
        layer normalisation in the encoder, four directions with contexts of their own, each patch augmented by itself
        (section 3).
    Differs: the kinds of augmentation are ours; the encoder is smaller than ResNet-161; no average of the weights.

    Args:
        first, last: rows ahead, the nearest and the furthest.
    """
    adam, constant = crl.Adam(4e-4, beta1=0.8), crl.Constant()
    patches = Patchwise(images.patch_network(norm="layer"))
    context = Below(64, first, last, directions=4, hidden=hidden)
    own = same("instance") & same("position")
    return images.recipe(
        training=crl.Training(epochs=200, batch_size=512, accumulate=32, optimiser=adam, schedule=constant, clip=0.01),
        sampler=Patches(images.setting("cpc-v2"), images.setting("cpc-patches"), size=images.size),
        branches={
            "context": crl.Branch("image", encoder=patches, head=context),
            "patches": crl.Branch("image", encoder=patches, head=crl.Linear(64)),
        },
        contrasts=[crl.Contrast("context", "patches", score=crl.Dot(10.0), loss=crl.InfoNCE(), positive=own)],
    )
