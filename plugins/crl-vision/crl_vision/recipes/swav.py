from __future__ import annotations

from crl_core.branch import Branch
from crl_core.contrast import Contrast
from crl_core.parts.heads.mlp import MLP
from crl_core.parts.losses.swapped_assignment import SwappedAssignment
from crl_core.pipeline import Pipeline
from crl_core.protocols import Encoder, Source
from crl_core.recipe import Recipe
from crl_core.relation import same

from ..samplers.multi_crop import MultiCrop
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, setting_for, training_for


def swav(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int | None = None,
    prototypes: int | None = None,
    temperature: float = 0.1,
    queue: int = 0,
) -> Recipe:
    """SwAV: every crop predicts to which prototypes a large crop of the same image is assigned.

    Paper: Caron, Misra, Mairal, Goyal, Bojanowski, Joulin 2020, Unsupervised Learning of Visual Features
    by Contrasting Cluster Assignments

    Checked against: the swapped loss over all crops but the one assigned (equation 6), assignments from
    the large crops alone by three iterations of Sinkhorn at 0.05 on scores without gradient, prototypes
    of length 1 after each step and held for the first epoch, a queue of earlier features from the 15th
    epoch on. Differs: all large crops of a batch are assigned together, and share one queue; the authors'
    code assigns one crop of all images at a time. A small image has four small crops instead of six, which
    show more of it: a tenth to three tenths.

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the large crops in pixels; as large as the images by default.
        prototypes: by default 3,000 as in the paper for a million images, and 128 for fewer.
        queue: earlier features that are assigned too, for batches below 256; 0 for none.
    """
    source = source or Digits()
    shape = Shape(source)
    settings = setting_for(shape, "swav")
    if shape.size <= 64:
        sampler = MultiCrop(settings, size, small=4, large_area=(0.3, 1.0), small_area=(0.1, 0.3))
    else:
        sampler = MultiCrop(settings, size)
    pipeline = Pipeline(
        sampler=sampler,
        branches={
            "large": Branch(sampler.large_views, encoder=encoder or encoder_for(shape), head=MLP(128, hidden=2_048)),
            "small": Branch(sampler.small_views, tracks="large"),
        },
        contrasts=[
            Contrast(
                ("large", "small"),
                "large",
                loss=SwappedAssignment(prototypes or (3_000 if shape.many else 128), 128, temperature, queue=queue),
                positive=same("instance") & ~same("row"),
            )
        ],
    )
    return Recipe(pipeline, source, training_for(shape))
