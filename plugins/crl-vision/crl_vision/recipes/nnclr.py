from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..images import DIGITS, Images


@crl.presets(digits=DIGITS | {"support": 4_096, "width": 1_024, "hidden": 1_024})
def nnclr(
    images: Images = Images(), temperature: float = 0.1, support: int = 98_304, width: int = 2_048, hidden: int = 4_096
) -> crl.Recipe:
    """NNCLR: each view's nearest neighbour among earlier images is to be found by the other view.

    Paper: Dwibedi, Aytar, Tompson, Sermanet, Zisserman 2021, With a Little Help from My Friends: Nearest-Neighbor
        Contrastive Learning of Visual Representations
    Checked: equations 2 and 4 in both directions; neighbours without gradient, out of a support set that a batch joins
        after the loss; negatives are the other view's predictions; a head of three layers, each with batch
        normalisation, and a predictor; temperature, optimiser and schedule of the paper.
    Differs: both views join the support set, the paper's has one. The views have SimCLR's setting.

    Args:
        support: embeddings in the support set.
        width, hidden: of the head's hidden layers, and of the predictor's.
    """
    augmented = images.augmented("simclr")
    score = crl.Cosine(temperature)
    positive, negative = same("instance") & ~same("view"), ~same("instance") & ~same("view")
    projection = crl.MLP(256, width, depth=3, final_norm=True)
    lars = crl.LARS(4.8, weight_decay=1e-6)
    return images.recipe(
        training=crl.Training(epochs=1_000, batch_size=4_096, optimiser=lars, schedule=crl.CosineDecay(warmup=10.0)),
        sampler=augmented,
        branches={
            "projection": crl.Branch(augmented.views, encoder=images.network(), head=projection),
            "prediction": crl.Branch(tap="projection", head=crl.Prediction(hidden)),
            "neighbour": crl.Branch(tap="projection", head=crl.NearestNeighbour(support), update=crl.StopGradient()),
        },
        contrasts=[
            crl.Contrast(
                "neighbour", "prediction", score=score, loss=crl.InfoNCE(), positive=positive, negative=negative
            )
        ],
    )
