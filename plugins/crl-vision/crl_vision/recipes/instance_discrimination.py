from __future__ import annotations

import crl_core as crl

from ..images import DIGITS, Images


# Few images need no noise in their softmax; the temperature is that of the authors' code for CIFAR-10.
@crl.presets(digits=DIGITS | {"negatives": 0, "temperature": 0.1})
def instance_discrimination(
    images: Images = Images(),
    temperature: float = 0.07,
    negatives: int = 4_096,
    momentum: float = 0.5,
    proximal: float = 10.0,
) -> crl.Recipe:
    """Instance discrimination: each image against all others, by a bank that holds one embedding of each.

    Paper: Wu, Xiong, Yu, Lin 2018, Unsupervised Feature Learning via Non-Parametric Instance Discrimination
    Checked: NCE (equations 4 to 8) with uniform noise, Z estimated on the first batch and the proximal term (equation
        10), or the softmax over the bank (equation 2); a linear head to 128 numbers of length 1; a bank that begins at
        random and takes half of each newest embedding; optimiser and schedule of the authors' code. The evaluator
        `knn` weighs neighbours as section 3.4 does; there k is 200.
    Differs: noise keys are drawn of the other images alone. The proximal weight is ours.

    Args:
        negatives: noise keys for each image; 0 takes the softmax over all images, as in the authors' code.
        momentum: the share of its old embedding that the bank keeps.
        proximal: the weight of the term that keeps an embedding near its last one, next to NCE. With a fixed Z,
            embeddings that move faster than their bank are chased by it and collapse: take a low learning rate.
    """
    bank = crl.Bank(momentum=momentum, initial="random")
    loss: crl.Loss = crl.Proximal(crl.NCE("first-batch"), proximal, temperature) if negatives else crl.InfoNCE()
    keys: crl.Keys = crl.Drawn(negatives, of=bank) if negatives else bank
    sgd = crl.SGD(0.03, momentum=0.9, weight_decay=1e-4)
    return images.recipe(
        training=crl.Training(epochs=200, batch_size=256, optimiser=sgd, schedule=crl.StepDecay([0.6, 0.8])),
        sampler=images.augmented("moco-v1", count=1),
        branches={"query": crl.Branch("a", encoder=images.network(), head=crl.Linear(128))},
        contrasts=[crl.Contrast("query", None, score=crl.Cosine(temperature), loss=loss, keys=keys)],
    )
