from __future__ import annotations

from crl_core import (
    MLP,
    Branch,
    Contrast,
    Cosine,
    Encoder,
    InfoNCE,
    NearestNeighbour,
    Pipeline,
    Prediction,
    Recipe,
    Source,
    StopGradient,
    same,
)

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for


def nnclr(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int | None = None,
    temperature: float = 0.1,
    support: int | None = None,
) -> Recipe:
    """NNCLR: one view's nearest neighbour among earlier images is to be found by the other view.

    Paper: Dwibedi, Aytar, Tompson, Sermanet, Zisserman 2021, With a Little Help from My Friends:
    Nearest-Neighbor Contrastive Learning of Visual Representations

    Checked against: equations 2 and 4 in both directions at temperature 0.1, neighbours without gradient
    out of a support set that both views join after the loss (the paper's has one of them), negatives that are
    predictions of the other view alone; a head of three layers, each with batch normalisation, and a predictor:
    2,048 and 4,096 wide for a million images as in the paper, 1,024 for fewer.

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
        support: embeddings in the support set; by default 98,304 for a million images, and 4,096 for fewer.
    """
    source = source or Digits()
    shape = Shape(source, size)
    if support is None:
        support = 98_304 if shape.many else 4_096
    head, hidden = (2_048, 4_096) if shape.many else (1_024, 1_024)
    sampler = Augmented(setting_for(shape), size=size)
    projection = MLP(256, head, depth=3, final_norm=True)
    pipeline = Pipeline(
        sampler=sampler,
        reader=reader_for(shape),
        branches={
            "projection": Branch(sampler.views, encoder=encoder or encoder_for(shape), head=projection),
            "prediction": Branch(tap="projection", head=Prediction(hidden)),
            "neighbour": Branch(tap="projection", head=NearestNeighbour(support), update=StopGradient()),
        },
        contrasts=[
            Contrast(
                "neighbour",
                "prediction",
                score=Cosine(temperature),
                loss=InfoNCE(),
                positive=same("instance") & ~same("view"),
                negative=~same("instance") & ~same("view"),
            )
        ],
    )
    return Recipe(pipeline, source, training_for(shape))
