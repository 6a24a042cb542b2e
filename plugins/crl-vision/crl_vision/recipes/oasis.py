from __future__ import annotations

import attrs

from crl_core import (
    SGD,
    Bilinear,
    Branch,
    Contrast,
    CosineDecay,
    Encoder,
    Frozen,
    Pipeline,
    Recipe,
    Source,
    Triplet,
    same,
)

from ..encoders.bag_of_patches import BagOfPatches
from ..samplers.augmented import Augmented
from ..samplers.settings import Augmentation
from ..sources.digits import Digits
from .defaults import Shape, reader_for, training_for


def oasis(
    source: Source | None = None, encoder: Encoder | None = None, size: int | None = None, margin: float = 0.05
) -> Recipe:
    """OASIS: of fixed descriptors, only the bilinear score between them is learned.

    Paper: Chechik, Sharma, Shalit, Bengio 2010, Large Scale Online Learning of Image Similarity Through Ranking

    Checked against: query · W · key with W the identity at first, no symmetry and no positive semidefiniteness asked
    for, and the hinge over triplets of labels (equation 3). The paper's margin of 1 goes with the length of its
    descriptors; these have length 1, and scores that lie nearer together. Differs in the optimiser: batches of all
    triplets by SGD whose rate falls to 0. Passive-aggressive steps of single triplets leave a noisier score, and the
    mean of all their scores is one like ours. Images are mirrored, and not otherwise augmented: a crop has other
    words in its bag.
    What has been learned is the score alone: ask the evaluator `score-knn`.

    Args:
        source: of images with labels; the digits that need no download by default.
        encoder: fixed; by default a bag of visual words.
        size: of the images in pixels; as they are by default.
        margin: by which a positive's score is higher than a negative's.
    """
    source = source or Digits()
    shape = Shape(source, size)
    settings = "strokes" if shape.drawn else [Augmentation(flip=0.5)]
    pipeline = Pipeline(
        sampler=Augmented(settings, size=size, count=1),
        reader=reader_for(shape),
        branches={"image": Branch("a", encoder=encoder or BagOfPatches(512), update=Frozen())},
        contrasts=[
            Contrast(
                "image",
                "image",
                score=Bilinear(start="identity"),
                loss=Triplet(margin),
                positive=same("label") & ~same("row"),
            )
        ],
    )
    training = training_for(shape)
    return Recipe(
        pipeline,
        source,
        attrs.evolve(training, optimiser=SGD(20.0), schedule=CosineDecay()),
    )
