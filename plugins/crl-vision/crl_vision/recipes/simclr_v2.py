from __future__ import annotations

from crl_core import MLP, Branch, Contrast, Cosine, Encoder, HiddenLayer, InfoNCE, Pipeline, Recipe, Source, same

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for


def simclr_v2(
    source: Source | None = None, encoder: Encoder | None = None, size: int | None = None, temperature: float = 0.1
) -> Recipe:
    """SimCLR v2: SimCLR with a head of three layers, of which the first belongs to the representation.

    Paper: Chen, Kornblith, Swersky, Norouzi, Hinton 2020, Big Self-Supervised Models are Strong
    Semi-Supervised Learners

    Checked against: NT-Xent (equation 1) at temperature 0.1, and a head of three layers. The branch
    "middle" is the representation after the first of them, from which the paper tunes for few labels:
    pipeline.encode(batch, "middle"). What is evaluated by default is the encoder, as everywhere. The
    memory of momentum keys and the distillation by labels, which the paper adds, are not here.

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
    """
    source = source or Digits()
    shape = Shape(source, size)
    sampler = Augmented(setting_for(shape), size=size)
    pipeline = Pipeline(
        sampler=sampler,
        reader=reader_for(shape),
        branches={
            "encoder": Branch(sampler.views, encoder=encoder or encoder_for(shape)),
            "middle": Branch(tap="encoder", head=HiddenLayer()),
            "projection": Branch(tap="middle", head=MLP(128)),
        },
        contrasts=[
            Contrast(
                "projection",
                "projection",
                score=Cosine(temperature),
                loss=InfoNCE(),
                positive=same("instance") & ~same("row"),
            )
        ],
    )
    return Recipe(pipeline, source, training_for(shape))
