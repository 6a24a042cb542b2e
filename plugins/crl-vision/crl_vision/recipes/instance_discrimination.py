from __future__ import annotations

import attrs

from crl_core.branch import Branch
from crl_core.contrast import Contrast
from crl_core.parts.heads.linear import Linear
from crl_core.parts.losses.nce import NCE
from crl_core.parts.losses.proximal import Proximal
from crl_core.parts.memories.bank import Bank
from crl_core.parts.scores.cosine import Cosine
from crl_core.pipeline import Pipeline
from crl_core.protocols import Encoder, Source
from crl_core.recipe import Recipe

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, setting_for, training_for


def instance_discrimination(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int | None = None,
    temperature: float = 0.07,
    negatives: int | None = None,
    momentum: float = 0.5,
    proximal: float = 10.0,
) -> Recipe:
    """Instance discrimination: an image is told from all others by a bank that holds one embedding of each.

    Paper: Wu, Xiong, Yu, Lin 2018, Unsupervised Feature Learning via Non-Parametric Instance Discrimination

    Checked against: NCE (equations 4 to 8) with uniform noise and Z estimated on the first batch, the
    proximal term (equation 10), temperature 0.07, a linear head to 128 numbers of length 1, a bank that
    begins at random and takes half of each newest embedding. Noise keys are drawn of the other images
    alone. The evaluator `knn` weighs neighbours as section 3.4 does; there k is 200.

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
        negatives: noise keys for each image; by default 4,096 for a million images, and 512 for fewer.
        momentum: share of its old embedding that the bank keeps.
        proximal: weight of the term that keeps an embedding near its last one.
    """
    source = source or Digits()
    shape = Shape(source)
    pipeline = Pipeline(
        sampler=Augmented(setting_for(shape, "moco-v1"), size=size, count=1),
        branches={"query": Branch("a", encoder=encoder or encoder_for(shape), head=Linear(128))},
        contrasts=[
            Contrast(
                "query",
                None,
                score=Cosine(temperature),
                loss=Proximal(NCE("first-batch"), proximal, temperature),
                memory=Bank(shape.count, momentum, initial="random"),
                draw=negatives or (4_096 if shape.many else 512),
            )
        ],
    )
    # With a fixed Z, embeddings that move together faster than their bank are chased by it, and gather in one place.
    return Recipe(pipeline, source, attrs.evolve(training_for(shape), learning_rate=1e-3))
