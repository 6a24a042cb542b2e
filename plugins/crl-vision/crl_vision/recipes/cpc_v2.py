from __future__ import annotations

import attrs

from crl_core import Branch, Contrast, Dot, Encoder, InfoNCE, Linear, Pipeline, Recipe, Source, same

from ..encoders.patchwise import Patchwise
from ..heads.below import Below
from ..samplers.patches import Patches
from ..sources.digits import Digits
from .defaults import Shape, context_for, patch_encoder_for, reader_for, setting_for, training_for


def cpc_v2(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int | None = None,
    first: int = 3,
    last: int = 5,
) -> Recipe:
    """CPC v2: patches are predicted from all four sides, with layer normalisation and changes to each patch.

    Paper: Hénaff, Srinivas, De Fauw, Razavi, Doersch, Eslami, van den Oord 2020, Data-Efficient Image
    Recognition with Contrastive Predictive Coding

    Checked against: the pseudo-code of appendix A: five masked layers of 256 channels, predictions and patches in
    64 numbers, scores divided by 10, the first two rows ahead left out, negatives from the whole batch; layer
    normalisation in the encoder, four directions with contexts of their own, each patch augmented by itself
    (section 3). Differs: the kinds of augmentation are ours; the encoder is smaller.

    Args:
        source: of images; the digits that need no download by default.
        encoder: of patches; by default a small network for images up to 64 pixels, ResNet-18 for larger ones.
        size: of the image in pixels; as large as the source's by default.
        first, last: of how many rows ahead.
    """
    source = source or Digits()
    shape = Shape(source, size)
    patches = Patchwise(encoder or patch_encoder_for(shape, norm="layer"))
    each = "strokes" if shape.drawn else "cpc-patches"
    pipeline = Pipeline(
        sampler=Patches(setting_for(shape, "cpc-v2"), each, size=size),
        reader=reader_for(shape),
        branches={
            "context": Branch(
                "image", encoder=patches, head=Below(64, first, last, directions=4, hidden=context_for(shape))
            ),
            "patches": Branch("image", encoder=patches, head=Linear(64)),
        },
        contrasts=[
            Contrast(
                "context", "patches", score=Dot(10.0), loss=InfoNCE(), positive=same("instance") & same("position")
            )
        ],
    )
    # Every image has 49 patches: a small batch is a large one, and an epoch takes longer.
    return Recipe(pipeline, source, attrs.evolve(training_for(shape), batch_size=16, epochs=20))
