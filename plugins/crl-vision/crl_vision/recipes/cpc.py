from __future__ import annotations

import attrs

from crl_core import Branch, Contrast, Encoder, InfoNCE, Pipeline, Recipe, Source, same

from ..encoders.patchwise import Patchwise
from ..heads.below import Below
from ..samplers.patches import Patches
from ..sources.digits import Digits
from .defaults import Shape, context_for, patch_encoder_for, reader_for, setting_for, training_for


def cpc(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int | None = None,
    first: int = 2,
    last: int = 5,
) -> Recipe:
    """CPC: from what is above, the patches below are told from all other patches.

    Paper: van den Oord, Li, Vinyals 2018, Representation Learning with Contrastive Predictive Coding

    Checked against: 7×7 patches that overlap by half, each encoded by itself and without batch
    normalisation, which would tell a context what it is to predict; a context of masked convolutions over
    the rows above; a bilinear score with a map of its own for each row ahead, up to five (section 3.3);
    InfoNCE (equation 4) whose negatives are all other patches, of the same image and of others; images without
    colour, and patches that are a little moved (section 3.3). Differs: half of the images keep their colour; the
    next row, which overlaps with the context's own, is not predicted.

    Args:
        source: of images; the digits that need no download by default.
        encoder: of patches; by default a small network for images up to 64 pixels, ResNet-18 for larger ones.
        size: of the image in pixels; as large as the source's by default.
        first, last: of how many rows ahead.
    """
    source = source or Digits()
    shape = Shape(source, size)
    patches = Patchwise(encoder or patch_encoder_for(shape, norm="none"))
    pipeline = Pipeline(
        # So much as a part of 60 pixels out of 64 may lie off.
        sampler=Patches(setting_for(shape, "cpc"), size=size, jitter=max(1, (size or shape.size) // 128)),
        reader=reader_for(shape),
        branches={
            "context": Branch("image", encoder=patches, head=Below(None, first, last, hidden=context_for(shape))),
            "patches": Branch("image", encoder=patches),
        },
        contrasts=[Contrast("context", "patches", loss=InfoNCE(), positive=same("instance") & same("position"))],
    )
    # Every image has 49 patches: a small batch is a large one, and an epoch takes longer.
    return Recipe(pipeline, source, attrs.evolve(training_for(shape), batch_size=16, epochs=20))
