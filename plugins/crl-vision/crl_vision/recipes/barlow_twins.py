from __future__ import annotations

import crl_core as crl

from ..images import DIGITS, Images


@crl.presets(digits=DIGITS | {"width": 1_024, "redundancy": 0.005})
def barlow_twins(images: Images = Images(), width: int = 8_192, redundancy: float = 0.0051) -> crl.Recipe:
    """Barlow Twins: each dimension of one view's embedding correlates with itself in the other view, and no other.

    Paper: Zbontar, Jing, Misra, LeCun, Deny 2021, Barlow Twins: Self-Supervised Learning via Redundancy Reduction
    Checked: the cross-correlation of the two views (equations 1 and 2); BYOL's views; a head of three equally wide
        layers; optimiser, schedule and lambda of the authors' code.
    Differs: biases and normalisation have the rate of the weights, 1.6; there it is 0.0384.

    Args:
        redundancy: lambda, the weight of what different dimensions share.
    """
    lars, cosine = crl.LARS(1.6, weight_decay=1e-6), crl.CosineDecay(warmup=10.0, final=0.001)
    return images.recipe(
        training=crl.Training(epochs=1_000, batch_size=2_048, optimiser=lars, schedule=cosine),
        sampler=images.augmented("byol"),
        branches={
            "one": crl.Branch("a", encoder=images.network(), head=crl.MLP(width, hidden=width, depth=3)),
            "other": crl.Branch("b", tracks="one"),
        },
        contrasts=[crl.Contrast("one", "other", loss=crl.BarlowTwins(redundancy))],
    )
