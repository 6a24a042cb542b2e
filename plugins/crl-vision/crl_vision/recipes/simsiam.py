from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..images import DIGITS, Images


@crl.presets(digits=DIGITS | {"batch_size": 64, "groups": [], "width": 512})
def simsiam(images: Images = Images(), width: int = 2_048) -> crl.Recipe:
    """SimSiam: each view predicts the other's embedding, which gets no gradient; no negatives, no momentum.

    Paper: Chen, He 2021, Exploring Simple Siamese Representation Learning
    Checked: the symmetric loss (equation 2, as 2 - 2 cos); the stop-gradient on what is predicted; a head of three
        layers, and a predictor whose hidden layer has a quarter of their width; a constant rate for the predictor.
    Differs: batch statistics are of both views together, and biases and normalisation have no weight decay.

    Args:
        width: of the head's layers.
    """
    augmented = images.augmented("moco-v2")
    steady = [crl.Group("branches.prediction.head", schedule=crl.Constant())]
    sgd = crl.SGD(0.1, momentum=0.9, weight_decay=1e-4)
    return images.recipe(
        training=crl.Training(epochs=100, batch_size=512, optimiser=sgd, schedule=crl.CosineDecay(), groups=steady),
        sampler=augmented,
        branches={
            "projection": crl.Branch(
                augmented.views, encoder=images.network(), head=crl.MLP(width, hidden=width, depth=3, final_norm=True)
            ),
            "prediction": crl.Branch(tap="projection", head=crl.Prediction(hidden=width // 4)),
            "target": crl.Branch(tap="projection", update=crl.StopGradient()),
        },
        contrasts=[
            crl.Contrast("prediction", "target", loss=crl.Regression(), positive=same("instance") & ~same("view"))
        ],
    )
