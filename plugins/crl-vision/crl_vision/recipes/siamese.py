from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..images import DIGITS, Images


@crl.presets(digits=DIGITS)
def siamese(images: Images = Images(), margin: float = 1.0) -> crl.Recipe:
    """Siamese network: images with the same label are near, others at least a margin apart.

    Paper: Chopra, Hadsell, LeCun 2005, Learning a Similarity Metric Discriminatively, with Application to Face
        Verification
    Checked: the pair loss as Le-Khac et al. 2020 write it (equation 2): D² for a positive pair, and
        max(0, margin - D²) for a negative one, of Euclidean distances.
    Differs: Chopra's own loss has the L1 norm and an exponential. The form of DrLIM, max(0, margin - D)², is the recipe
        `dr-lim`. Pairs are all of a batch, of one augmented view of each image. The paper's rate, batch and epochs are
        not published: these are ours, for its gradient descent.

    Args:
        margin: of the squared distance.
    """
    return images.recipe(
        training=crl.Training(epochs=100, batch_size=128, optimiser=crl.SGD(0.01), schedule=crl.Constant()),
        sampler=images.augmented(count=1),
        encoder=images.network(),
        score=crl.L2(),
        loss=crl.Pair(margin, form="squared"),
        positive=same("label") & ~same("row"),
    )
