from __future__ import annotations

from crl_core import MLP, Branch, Contrast, Encoder, Pipeline, Recipe, Source, VICReg

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for


def vicreg(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int | None = None,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
) -> Recipe:
    """VICReg: two views' embeddings are equal, every dimension varies, and no two vary together.

    Paper: Bardes, Ponce, LeCun 2022, VICReg: Variance-Invariance-Covariance Regularization for
    Self-Supervised Learning

    Checked against: equations 1 to 6 in the scale of the authors' code, weights 25, 25 and 1, variance
    and covariance of each view by itself, an expander of three equally wide layers: 8,192 for a million
    images as in the paper, 1,024 for fewer. Differs in the optimiser: AdamW instead of LARS.

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
        invariance, variance, covariance: the weights of the three terms.
    """
    source = source or Digits()
    shape = Shape(source, size)
    width = 8_192 if shape.many else 1_024
    pipeline = Pipeline(
        sampler=Augmented(setting_for(shape, "vicreg"), size=size),
        reader=reader_for(shape),
        branches={
            "one": Branch("a", encoder=encoder or encoder_for(shape), head=MLP(width, hidden=width, depth=3)),
            "other": Branch("b", tracks="one"),
        },
        contrasts=[Contrast("one", "other", loss=VICReg(invariance, variance, covariance))],
    )
    return Recipe(pipeline, source, training_for(shape))
