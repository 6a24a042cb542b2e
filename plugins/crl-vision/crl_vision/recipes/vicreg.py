from __future__ import annotations

import crl_core as crl

from ..images import DIGITS, Images


@crl.presets(digits=DIGITS | {"width": 1_024})
def vicreg(
    images: Images = Images(),
    width: int = 8_192,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
) -> crl.Recipe:
    """VICReg: the embeddings of two views are equal, every dimension varies, and no two vary together.

    Paper: Bardes, Ponce, LeCun 2022, VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning
    Checked: equations 1 to 6 in the scale of the authors' code; variance and covariance of each view by itself; an
        expander of three equally wide layers; weights, optimiser and schedule of the paper.
    Differs: nothing known but the encoder, which follows the size of the images.

    Args:
        width: of the expander's layers.
        invariance, variance, covariance: the weights of the three terms.
    """
    lars = crl.LARS(1.6, weight_decay=1e-6)
    return images.recipe(
        training=crl.Training(
            epochs=1_000, batch_size=2_048, optimiser=lars, schedule=crl.CosineDecay(warmup=10.0, final=1e-3)
        ),
        sampler=images.augmented("vicreg"),
        branches={
            "one": crl.Branch("a", encoder=images.network(), head=crl.MLP(width, hidden=width, depth=3)),
            "other": crl.Branch("b", tracks="one"),
        },
        contrasts=[crl.Contrast("one", "other", loss=crl.VICReg(invariance, variance, covariance))],
    )
