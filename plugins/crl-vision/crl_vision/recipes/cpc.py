from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..encoders.patchwise import Patchwise
from ..heads.below import Below
from ..images import DIGITS, Images
from ..samplers.patches import Patches


# Every image has 49 patches: a small batch is a large one, and an epoch takes longer.
@crl.presets(digits=DIGITS | {"epochs": 20, "batch_size": 16, "accumulate": 1, "hidden": 64})
def cpc(images: Images = Images(), first: int = 2, last: int = 5, hidden: int = 256) -> crl.Recipe:
    """CPC: the patches above predict those below, among all other patches.

    Paper: van den Oord, Li, Vinyals 2018, Representation Learning with Contrastive Predictive Coding
    Checked: 7×7 patches that overlap by half, each encoded by itself and without batch normalisation, which would tell
        a context what it has to predict; a context of masked convolutions over the rows above; a bilinear score with a
        map of its own for each row ahead, up to five (section 3.3); InfoNCE (equation 4) whose negatives are all other
        patches, of the same image and of the 15 others in its micro-batch; each patch moved by a few pixels.
    Differs: half of the images keep their colour; the next row, which overlaps with the context's own, is not
        predicted; the crop, and a smaller encoder and context than ResNet-101 and PixelCNN. How long the authors train
        is not published.

    Args:
        first, last: rows ahead, the nearest and the furthest.
    """
    adam = crl.Adam(2e-4)
    patches = Patchwise(images.patch_network(norm="none"))
    own = same("instance") & same("position")
    return images.recipe(
        training=crl.Training(epochs=200, batch_size=512, accumulate=32, optimiser=adam, schedule=crl.Constant()),
        # The paper moves a part of 60 pixels within 64.
        sampler=Patches(images.setting("cpc"), size=images.size, jitter=max(1, images.side // 128)),
        branches={
            "context": crl.Branch("image", encoder=patches, head=Below(None, first, last, hidden=hidden)),
            "patches": crl.Branch("image", encoder=patches),
        },
        contrasts=[crl.Contrast("context", "patches", loss=crl.InfoNCE(), positive=own)],
    )
