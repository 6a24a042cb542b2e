from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..images import DIGITS, Images


@crl.presets(digits=DIGITS)
def hoffer_ailon(images: Images = Images()) -> crl.Recipe:
    """Triplet network: of the distances to an image of the same label and of another, the softmax should be (0, 1).

    Paper: Hoffer, Ailon 2015, Deep Metric Learning Using Triplet Network
    Checked: the squared softmax ratio of the two Euclidean distances, up to its constant factor; Le-Khac et al. 2020
        call it a triplet loss, which is Triplet(form="hinge"). Optimiser and batch of the authors' code.
    Differs: one triplet is drawn for each image, of one augmented view, and that is an epoch; theirs has 640,000
        triplets of images as they are, and they train for 10 to 30. No dropout.
    """
    sgd = crl.SGD(0.1, momentum=0.9, weight_decay=1e-4)
    ratio = crl.Triplet(form="ratio", mining="hard")  # of the one triplet that is drawn
    alike = same("label") & ~same("row")
    return images.recipe(
        training=crl.Training(epochs=30, batch_size=128, optimiser=sgd, schedule=crl.Constant()),
        sampler=images.augmented(count=1),
        branches={"image": crl.Branch("a", encoder=images.network())},
        contrasts=[crl.Contrast("image", "image", score=crl.L2(), loss=ratio, positive=alike, keys=crl.Drawn(1))],
    )
