from __future__ import annotations

from crl_core import MLP, ClusteredBank, Contrast, Cosine, CrlError, Encoder, MarginNCE, Pipeline, Recipe, Source, same

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for
from .momentum_contrast import against_the_queue, query_and_key


def interclr(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int | None = None,
    temperature: float = 0.2,
    clusters: int | None = None,
    margin: float = -0.5,
    between: float = 0.25,
    queue: int | None = None,
    momentum: float | None = None,
) -> Recipe:
    """InterCLR: MoCo within an image, and between images that are in the same cluster of a bank.

    Paper: Xie, Zhan, Liu, Ong, Loy 2022, Delving into Inter-Image Invariance for Unsupervised Visual
    Representations

    Checked against: the authors' code: a cosine margin of -0.5 for positives of the same cluster,
    semi-hard negatives out of the nearest tenth of the bank, weights 0.75 within and 0.25 between images,
    a bank that keeps half of an old embedding. There it holds keys, and here queries; there one positive
    and a part of the pool are drawn, and here all count. Clusters are of a k-means before every epoch but
    the first; there they move with the batches, where small ones have to be filled up from large ones lest
    all images end in one.

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
        clusters: by default 10,000 for a million images, and one for 100 images for fewer.
        margin: taken off the cosine of positives between images.
        between: weight of the term between images; the term within images has the rest of 1.
        queue: keys remembered; by default 65,536 for a million images, and 4,096 for fewer.
        momentum: of the key encoder; by default 0.999 for a million images, and 0.99 for fewer.
    """
    source = source or Digits()
    shape = Shape(source, size)
    if not 0 <= between <= 1:
        raise CrlError(f"between is a share of the objective, from 0 to 1, not {between}")
    if clusters is None:
        clusters = 10_000 if shape.many else max(2, shape.count // 100)
    images = Contrast(
        "query",
        None,
        score=Cosine(temperature),
        loss=MarginNCE(margin / temperature),
        keys=ClusteredBank(clusters=clusters, warmup=1),
        positive=same("cluster_0"),
        weight=between,
        name="between-images",
    )
    pipeline = Pipeline(
        sampler=Augmented(setting_for(shape, "moco-v2"), size=size),
        reader=reader_for(shape),
        branches=query_and_key(shape, encoder or encoder_for(shape), MLP(128, norm=False), momentum),
        contrasts=[against_the_queue(shape, temperature, queue, weight=1 - between), images],
    )
    return Recipe(pipeline, source, training_for(shape))
