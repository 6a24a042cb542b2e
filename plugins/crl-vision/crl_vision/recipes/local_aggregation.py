from __future__ import annotations

from functools import reduce
from operator import or_

from crl_core import (
    Branch,
    ClusteredBank,
    Contrast,
    Cosine,
    Encoder,
    Linear,
    LocalAggregation,
    Pipeline,
    Recipe,
    Source,
    same,
)

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for


def local_aggregation(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int | None = None,
    temperature: float | None = None,
    clusters: int | None = None,
    clusterings: int = 3,
    background: int | None = None,
    warmup: int | None = None,
) -> Recipe:
    """Local aggregation: an image is drawn to those that any of several clusterings puts with it.

    Paper: Zhuang, Zhai, Yamins 2019, Local Aggregation for Unsupervised Learning of Visual Embeddings

    Checked against: equations 3 and 4, close neighbours out of several k-means of
    the bank that are made anew before every epoch, a bank as in instance discrimination. The warm-up tells
    each image from its nearest ones by the softmax, where the authors' code uses NCE.

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
        temperature: by default 0.07 for a million images, and 0.1 for fewer, as in instance discrimination.
        clusters: by default 30,000 for a million images, and one for 40 images for fewer.
        clusterings: how often the bank is clustered.
        background: nearest neighbours; by default 4,096 for a million images, and 512 for fewer.
        warmup: epochs without clusters; by default 10 for a million images, 5 for fewer, and 15 for so few that an
            epoch is over in seconds.
    """
    source = source or Digits()
    shape = Shape(source, size)
    temperature = temperature or (0.07 if shape.many else 0.1)
    if warmup is None and shape.few:
        warmup = 15
    memory = ClusteredBank(
        initial="random",
        clusters=clusters or (30_000 if shape.many else max(2, shape.count // 40)),
        clusterings=clusterings,
        warmup=shape.warmup(10, warmup),
    )
    together = [same(f"cluster_{i}") for i in range(clusterings)]
    pipeline = Pipeline(
        sampler=Augmented(setting_for(shape, "moco-v1"), size=size, count=1),
        reader=reader_for(shape),
        branches={"query": Branch("a", encoder=encoder or encoder_for(shape), head=Linear(128))},
        contrasts=[
            Contrast(
                "query",
                None,
                score=Cosine(temperature),
                loss=LocalAggregation(background or (4_096 if shape.many else 512)),
                keys=memory,
                positive=reduce(or_, together, same("instance")),
            )
        ],
    )
    return Recipe(pipeline, source, training_for(shape))
