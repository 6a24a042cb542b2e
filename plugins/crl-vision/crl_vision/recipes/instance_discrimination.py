from __future__ import annotations

import attrs

from crl_core import (
    NCE,
    AdamW,
    Bank,
    Branch,
    Contrast,
    Cosine,
    Drawn,
    Encoder,
    InfoNCE,
    Linear,
    Loss,
    Pipeline,
    Proximal,
    Recipe,
    Source,
)

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for


def instance_discrimination(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int | None = None,
    temperature: float | None = None,
    negatives: int | None = None,
    momentum: float = 0.5,
    proximal: float = 10.0,
) -> Recipe:
    """Instance discrimination: an image is told from all others by a bank that holds one embedding of each.

    Paper: Wu, Xiong, Yu, Lin 2018, Unsupervised Feature Learning via Non-Parametric Instance Discrimination

    Checked against: the softmax over the bank (equation 2), and for a million images NCE in its place (equations
    4 to 8) with uniform noise, Z estimated on the first batch and the proximal term (equation 10), as in the authors'
    code, where 0 noise keys mean the softmax; a linear head to 128 numbers of length 1, a bank that begins at random
    and takes half of each newest embedding. Noise keys are drawn of the other images alone. The evaluator `knn` weighs
    neighbours as section 3.4 does; there k is 200.

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
        temperature: by default 0.07 for a million images, and for fewer 0.1, as in the authors' code for CIFAR-10.
        negatives: noise keys for each image; by default 4,096 for a million images. For fewer there are none,
            and the softmax is over all images: with a fixed Z a short run learns little.
        momentum: share of its old embedding that the bank keeps.
        proximal: weight of the term that keeps an embedding near its last one, beside NCE.
    """
    source = source or Digits()
    shape = Shape(source, size)
    training = training_for(shape)
    temperature = temperature or (0.07 if shape.many else 0.1)
    negatives = negatives or (4_096 if shape.many else None)
    loss: Loss = InfoNCE()
    if negatives is not None:
        loss = Proximal(NCE("first-batch"), proximal, temperature)
        # With a fixed Z, embeddings that move faster than their bank are chased by it, and gather in one place.
        training = attrs.evolve(training, optimiser=AdamW(1e-3, weight_decay=1e-4))
    bank = Bank(momentum=momentum, initial="random")
    pipeline = Pipeline(
        sampler=Augmented(setting_for(shape, "moco-v1"), size=size, count=1),
        reader=reader_for(shape),
        branches={"query": Branch("a", encoder=encoder or encoder_for(shape), head=Linear(128))},
        contrasts=[
            Contrast(
                "query",
                None,
                score=Cosine(temperature),
                loss=loss,
                keys=bank if negatives is None else Drawn(negatives, of=bank),
            )
        ],
    )
    return Recipe(pipeline, source, training)
