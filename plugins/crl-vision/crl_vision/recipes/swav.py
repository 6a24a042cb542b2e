from __future__ import annotations

import attrs

from crl_core import MLP, Branch, Contrast, Encoder, Pipeline, Recipe, Source, SwappedAssignment, same

from ..samplers.multi_crop import MultiCrop
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for


def swav(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int | None = None,
    prototypes: int | None = None,
    temperature: float = 0.1,
    epsilon: float | None = None,
    queue: int = 0,
) -> Recipe:
    """SwAV: every crop predicts to which prototypes a large crop of the same image is assigned.

    Paper: Caron, Misra, Mairal, Goyal, Bojanowski, Joulin 2020, Unsupervised Learning of Visual Features
    by Contrasting Cluster Assignments

    Checked against: the swapped loss over all crops but the one assigned (equation 6), assignments from
    the large crops alone by three iterations of Sinkhorn on scores without gradient, prototypes of length
    1 after each step and held for the first epoch, a queue of earlier features from the 15th epoch on.
    Differs: all large crops of a batch are assigned together, and share one queue; the authors' code
    assigns one crop of all images at a time. Small images have fewer small crops, which show more of them.
    At epsilon 0.05 a few hundred steps on the digits end with all embeddings alike, the loss at log K; the
    authors' advice for that is a lower one.

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the large crops in pixels; as large as the images by default.
        prototypes: by default 3,000 as in the paper for a million images, and 64 for fewer.
        epsilon: of Sinkhorn; by default 0.05 as in the paper for a million images, and 0.025 for fewer.
        queue: earlier features that are assigned too, for batches below 256; 0 for none.
    """
    source = source or Digits()
    shape = Shape(source, size)
    sampler = _crops(shape, size)
    hidden = 2_048 if shape.many else 512
    if prototypes is None:
        prototypes = 3_000 if shape.many else 64
    if epsilon is None:
        epsilon = 0.05 if shape.many else 0.025
    loss = SwappedAssignment(prototypes, 128, temperature, epsilon=epsilon, queue=queue)
    pipeline = Pipeline(
        sampler=sampler,
        reader=reader_for(shape),
        branches={
            "large": Branch(sampler.large_views, encoder=encoder or encoder_for(shape), head=MLP(128, hidden=hidden)),
            "small": Branch(sampler.small_views, tracks="large"),
        },
        contrasts=[
            Contrast(
                ("large", "small"),
                "large",
                loss=loss,
                positive=same("instance") & ~same("row"),
            )
        ],
    )
    training = training_for(shape)
    if shape.few:
        # Assignments settle step by step, and few images make few steps: half the batch makes twice as many.
        training = attrs.evolve(training, batch_size=training.batch_size // 2)
    return Recipe(pipeline, source, training)


def _crops(shape: Shape, size: int | None) -> MultiCrop:
    """The paper's crops, or of small images such that a crop still shows something."""
    settings = setting_for(shape, "swav")
    side = size or shape.size
    if shape.drawn:
        return MultiCrop(settings, size, side * 3 // 4, small=2, large_area=(0.6, 1.0), small_area=(0.4, 0.8))
    if side <= 64:
        return MultiCrop(settings, size, side * 5 // 8, small=2, large_area=(0.3, 1.0), small_area=(0.1, 0.4))
    return MultiCrop(settings, size)
