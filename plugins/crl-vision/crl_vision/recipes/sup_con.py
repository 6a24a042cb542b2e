from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..images import DIGITS, Images


@crl.presets(digits=DIGITS)
def sup_con(images: Images = Images(), temperature: float = 0.1) -> crl.Recipe:
    """SupCon: all views of all images with the same label are positives.

    Paper: Khosla, Teterwak, Wang, Sarna, Tian, Isola, Maschinot, Liu, Krishnan 2020, Supervised Contrastive Learning
    Checked: L_out of equation 2, the mean over the positives outside the logarithm; a view is never its own positive; a
        label that occurs once still has its other view; temperature, and LARS at 0.4 for each 256 images of a batch, as
        in the authors' settings for a ResNet-50.
    Differs: SimCLR's views instead of AutoAugment's. Representations are not normalised before the head. Images without
        a label (-1) have only their other view as a positive. Biases and normalisation have no weight decay.
    """
    lars = crl.LARS(9.6, weight_decay=1e-3)
    return images.recipe(
        training=crl.Training(epochs=350, batch_size=6_144, optimiser=lars, schedule=crl.CosineDecay(warmup=12.0)),
        sampler=images.augmented("simclr"),
        encoder=images.network(),
        head=crl.MLP(128),
        score=crl.Cosine(temperature),
        loss=crl.InfoNCE(positives="outside"),
        positive=(same("label") | same("instance")) & ~same("row"),
    )
