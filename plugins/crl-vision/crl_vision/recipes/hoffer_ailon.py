from __future__ import annotations

from crl_core import L2, Branch, Contrast, Drawn, Encoder, Pipeline, Recipe, Source, Triplet, same

from ..samplers.augmented import Augmented
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for


def hoffer_ailon(source: Source | None = None, encoder: Encoder | None = None, size: int | None = None) -> Recipe:
    """Triplet network: of two distances, to an image of the same label and of another, the softmax is to be (0, 1).

    Paper: Hoffer, Ailon 2015, Deep Metric Learning Using Triplet Network

    Checked against: the squared softmax ratio of the two Euclidean distances, up to its constant factor, as in the
    paper; Le-Khac et al. 2020 call it a triplet loss, which is Triplet(form="hinge"). One triplet is drawn for each
    image, of one augmented view.

    Args:
        source: of images with labels; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
    """
    source = source or Digits()
    shape = Shape(source, size)
    pipeline = Pipeline(
        sampler=Augmented(setting_for(shape), size=size, count=1),
        reader=reader_for(shape),
        branches={"image": Branch("a", encoder=encoder or encoder_for(shape))},
        contrasts=[
            Contrast(
                "image",
                "image",
                score=L2(),
                loss=Triplet(form="ratio", mining="hard"),  # of the one triplet that is drawn
                positive=same("label") & ~same("row"),
                keys=Drawn(1),
            )
        ],
    )
    return Recipe(pipeline, source, training_for(shape))
