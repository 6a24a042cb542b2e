from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..encoders.bag_of_patches import BagOfPatches
from ..images import DIGITS, Images
from ..samplers.settings import Augmentation


# The rate moves the matrix, and the margin is as small as the scores of these images lie apart.
@crl.presets(digits=DIGITS | {"optimiser": crl.SGD(20.0), "schedule": crl.CosineDecay(), "margin": 0.05})
def oasis(images: Images = Images(), margin: float = 1.0) -> crl.Recipe:
    """OASIS: of fixed descriptors, only the bilinear score between them is learned.

    Paper: Chechik, Sharma, Shalit, Bengio 2010, Large Scale Online Learning of Image Similarity Through Ranking
    Checked: query · W · key with W the identity at first, neither symmetric nor positive semidefinite by force, and
        the hinge over triplets of labels (equation 3).
    Differs: SGD over all triplets of a batch, at the rate 0.1 that bounds the paper's passive-aggressive steps of
        single triplets, whose scores are noisier; a bag of 512 words, of length 1. Images are mirrored, and not
        otherwise augmented: a crop has other words in its bag. Epochs and batch are ours.

    What has been learned is the score alone: ask the evaluator `score-knn`. `encoder` is fixed here.
    """
    score, hinge = crl.Bilinear(start="identity"), crl.Triplet(margin)
    return images.recipe(
        training=crl.Training(epochs=100, batch_size=128, optimiser=crl.SGD(0.1), schedule=crl.Constant()),
        sampler=images.augmented([Augmentation(flip=0.5)], count=1),
        branches={"image": crl.Branch("a", encoder=images.encoder or BagOfPatches(512), update=crl.Frozen())},
        contrasts=[crl.Contrast("image", "image", score=score, loss=hinge, positive=same("label") & ~same("row"))],
    )
