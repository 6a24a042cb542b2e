from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..images import DIGITS, Images


@crl.presets(digits=DIGITS | {"temperature": 0.5})
def simclr(images: Images = Images(), temperature: float = 0.1) -> crl.Recipe:
    """SimCLR: two views of each image, every view of another image in the batch a negative.

    Paper: Chen, Kornblith, Norouzi, Hinton 2020, A Simple Framework for Contrastive Learning of Visual Representations
    Checked: the closed form of NT-Xent (equation 1); cosine scores; a head of two layers as wide as the encoder; half
        colour strength and no blur for small images (appendix B.9); LARS at 0.3 for each 256 images of a batch.
    Differs: the head's last layer has no batch normalisation, which it has in the authors' code; the encoder follows
        the size of the images.
    """
    return images.recipe(
        training=crl.Training(
            epochs=1_000,
            batch_size=4_096,
            optimiser=crl.LARS(4.8, weight_decay=1e-6),
            schedule=crl.CosineDecay(warmup=10.0),
        ),
        sampler=images.augmented("simclr"),
        encoder=images.network(),
        head=crl.MLP(128),
        score=crl.Cosine(temperature),
        loss=crl.InfoNCE(),
        positive=same("instance") & ~same("row"),
    )
