from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..images import DIGITS, Images


# The target follows step by step, and few images make few steps: half the batch makes twice as many.
@crl.presets(digits=DIGITS | {"batch_size": 64, "hidden": 1_024, "momentum": 0.99})
def byol(images: Images = Images(), hidden: int = 4_096, momentum: float = 0.996) -> crl.Recipe:
    """BYOL: each view predicts the other's embedding by a slowly moving target; no negatives.

    Paper: Grill, Strub, Altché, Tallec, Richemond, Buchatskaya, Doersch, Pires, Guo, Azar, Piot, Kavukcuoglu, Munos,
        Valko 2020, Bootstrap Your Own Latent
    Checked: 2 - 2 cos in both directions (equation 2); a predictor on the online side alone; no gradient to the
        target, whose momentum rises to 1 along a cosine; LARS at 0.2 for each 256 images of a batch.
    Differs: batch statistics are of both views together.

    Args:
        hidden: the width of projector and predictor inside.
        momentum: of the target at the start.
    """
    views = ("a", "b")
    lars, cosine = crl.LARS(3.2, weight_decay=1.5e-6), crl.CosineDecay(warmup=10.0)
    return images.recipe(
        training=crl.Training(epochs=1_000, batch_size=4_096, optimiser=lars, schedule=cosine),
        sampler=images.augmented("byol"),
        branches={
            "projection": crl.Branch(views, encoder=images.network(), head=crl.MLP(256, hidden=hidden)),
            "online": crl.Branch(tap="projection", head=crl.Prediction(hidden=hidden)),
            "target": crl.Branch(views, tracks="projection", update=crl.Momentum(crl.Scheduled(momentum, 1.0))),
        },
        contrasts=[crl.Contrast("online", "target", loss=crl.Regression(), positive=same("instance") & ~same("view"))],
    )
