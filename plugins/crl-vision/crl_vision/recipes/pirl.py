from __future__ import annotations

from typing import Literal

from crl_core import Bank, Branch, Contrast, Cosine, Drawn, Encoder, InfoNCE, Linear, Pipeline, Recipe, Sampler, Source

from ..encoders.patchwise import Patchwise
from ..heads.pieces import Pieces
from ..memories.borrowed import Borrowed
from ..samplers.jigsaw import Jigsaw
from ..samplers.rotated import Rotated
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for


def pirl(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int | None = None,
    transformation: Literal["jigsaw", "rotation"] | None = None,
    share: float = 0.5,
    temperature: float = 0.07,
    negatives: int | None = None,
) -> Recipe:
    """PIRL: an image and a jigsaw, or a rotation, of it both know the image's place in a bank of all images.

    Paper: Misra, van der Maaten 2020, Self-Supervised Learning of Pretext-Invariant Representations

    Checked against: two losses against one bank, which the image's embeddings alone fill (equation 5, λ a
    half), a head of its own for each, nine patches that are encoded apart and joined in their random order, at
    temperature 0.07, a bank that keeps half of the old (section 3). Differs: each loss is the softmax over
    the bank, as in the authors' later code, where the paper adds a term for each negative (equation 4).

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
        transformation: by default the jigsaw, and for images up to 32 pixels, whose patches show nothing, the rotation.
        share: λ, of the transformed image's loss; the rest is the image's own.
        negatives: drawn from the bank; by default 32,000 as in the paper for a million images, and all for fewer.
    """
    source = source or Digits()
    shape = Shape(source, size)
    settings = setting_for(shape)
    transformation = transformation or ("rotation" if shape.size <= 32 else "jigsaw")
    draw = negatives or (32_000 if shape.many else None)
    sampler: Sampler = Jigsaw(settings, size) if transformation == "jigsaw" else Rotated(settings, size)
    image, other = sampler.views
    bank = Bank(initial="random")
    own, lent = (one if draw is None else Drawn(draw, of=one) for one in (bank, Borrowed(bank)))
    score = Cosine(temperature)
    pipeline = Pipeline(
        sampler=sampler,
        reader=reader_for(shape),
        branches={
            "image": Branch(image, encoder=Patchwise(encoder or encoder_for(shape)), head=Linear(128)),
            "other": Branch(other, tracks="image", head=Pieces(128) if transformation == "jigsaw" else Linear(128)),
        },
        contrasts=[
            Contrast("image", None, score=score, loss=InfoNCE(), keys=own, weight=1 - share),
            Contrast("other", None, score=score, loss=InfoNCE(), keys=lent, weight=share),
        ],
    )
    return Recipe(pipeline, source, training_for(shape))
