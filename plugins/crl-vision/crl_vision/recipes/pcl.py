from __future__ import annotations

from crl_core import (
    MLP,
    Contrast,
    CrlError,
    Dot,
    Drawn,
    Encoder,
    InfoNCE,
    Keys,
    Pipeline,
    Prototypes,
    Recipe,
    Source,
    Unit,
    same,
)

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for
from .momentum_contrast import against_the_queue, query_and_key


def pcl(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int | None = None,
    temperature: float = 0.2,
    clusters: list[int] | None = None,
    warmup: int | None = None,
    queue: int | None = None,
    momentum: float | None = None,
) -> Recipe:
    """PCL: MoCo, and prototypes of several clusterings as further positives, each as concentrated as its cluster.

    Paper: Li, Zhou, Xiong, Hoi 2021, Prototypical Contrastive Learning of Unsupervised Representations

    Checked against: ProtoNCE (equation 11), the concentrations (equation 12) smoothed and scaled to mean
    temperature, k-means of the momentum embeddings before every epoch after the warm-up, prototypes
    without gradient. At most 16,000 negative prototypes are drawn.

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
        clusters: of each clustering; by default 25,000, 50,000 and 100,000 for a million images, and one
            for 50, 25 and 12 images for fewer.
        warmup: epochs without prototypes; by default 20 for a million images, and 5 for fewer.
        queue: keys remembered; by default 65,536 for a million images, and 4,096 for fewer.
        momentum: by default 0.999 for a million images, and 0.99 for fewer.
    """
    source = source or Digits()
    shape = Shape(source, size)
    if clusters is None:
        clusters = [25_000, 50_000, 100_000] if shape.many else [max(2, shape.count // n) for n in (50, 25, 12)]
    if not clusters or not 2 <= min(clusters) <= max(clusters) <= shape.count:
        raise CrlError(f"clusters are 2 or more and at most the source's {shape.count} images, not {clusters}")
    prototypes = [
        Contrast(
            "query",
            None,
            score=Dot(),
            loss=InfoNCE(),
            keys=_at_most(16_000, Prototypes(count, "key", temperature, shape.warmup(20, warmup))),
            positive=same("cluster"),
            weight=1 / len(clusters),
            name=f"prototypes-{count}",
        )
        for count in clusters
    ]
    pipeline = Pipeline(
        sampler=Augmented(setting_for(shape, "moco-v2"), size=size),
        reader=reader_for(shape),
        branches=query_and_key(shape, encoder or encoder_for(shape), Unit(MLP(128, norm=False)), momentum),
        contrasts=[against_the_queue(shape, temperature, queue), *prototypes],
    )
    return Recipe(pipeline, source, training_for(shape))


def _at_most(count: int, prototypes: Prototypes) -> Keys:
    """All of them, or so many that are drawn."""
    return Drawn(count, of=prototypes) if prototypes.clusters > count else prototypes
