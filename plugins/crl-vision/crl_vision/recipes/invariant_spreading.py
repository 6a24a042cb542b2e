from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..images import DIGITS, Images


@crl.presets(digits=DIGITS)
def invariant_spreading(images: Images = Images(), temperature: float = 0.1) -> crl.Recipe:
    """Invariant and spreading features: each view finds its image in the batch, and no other view is taken for it.

    Paper: Ye, Zhang, Yuen, Chang 2019, Unsupervised Embedding Learning via Invariant and Spreading Instance Feature
    Checked: the two terms of equation 6 as in the authors' code, where both views are queries and all other views are
        keys; a linear head to 128 numbers of length 1; temperature, and optimiser and schedule of
        the authors' code for CIFAR-10.
    Differs: nothing known but the encoder, which follows the size of the images.
    """
    sgd = crl.SGD(0.03, momentum=0.9, weight_decay=5e-4)
    return images.recipe(
        training=crl.Training(epochs=300, batch_size=128, optimiser=sgd, schedule=crl.StepDecay([0.4])),
        sampler=images.augmented("moco-v1"),
        encoder=images.network(),
        head=crl.Linear(128),
        score=crl.Cosine(temperature),
        loss=crl.InvariantSpreading(),
        positive=same("instance") & ~same("row"),
    )
