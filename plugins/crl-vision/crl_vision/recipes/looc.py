from __future__ import annotations

from crl_core import MLP, Branch, Contrast, Cosine, Encoder, InfoNCE, Pipeline, Recipe, Source, same

from ..samplers.leave_one_out import LeaveOneOut
from ..sources.digits import Digits
from .defaults import Shape, encoder_for, reader_for, setting_for, training_for


def looc(
    source: Source | None = None,
    encoder: Encoder | None = None,
    size: int | None = None,
    temperature: float = 0.2,
    kept: list[str] | None = None,
) -> Recipe:
    """LooC: a space in which no step of the augmentation shows, and for every step one in which it alone does.

    Paper: Xiao, Wang, Efros, Darrell 2021, What Should Not Be Contrastive in Contrastive Learning

    Checked against: one encoder with a head for each space; in the general space the positive is the key that
    shares nothing with the query; in a step's own space it is the key with the query's parameters of that step, and
    the image's other keys are negatives (section 3). Differs: keys are of the batch and have a gradient, as in
    SimCLR, where the paper stands on MoCo's queue; keys of other images count in all their views.

    Args:
        source: of images; the digits that need no download by default.
        encoder: by default a small network for images up to 32 pixels, ResNet-18 for larger ones.
        size: of the views in pixels; as large as the images by default.
        kept: steps with a space of their own; by default those of "crop", "colour" and "move" that are done.
    """
    source = source or Digits()
    shape = Shape(source, size)
    sampler = LeaveOneOut(setting_for(shape), kept, size)
    query, general, *steps = sampler.views
    branches = {
        "query": Branch(query, encoder=encoder or encoder_for(shape), head=MLP(128)),
        "key": Branch(general, tracks="query"),
    }
    contrasts = [
        Contrast("query", "key", score=Cosine(temperature), loss=InfoNCE(), weight=1 / (1 + len(steps)), name="general")
    ]
    for step in steps:
        head = MLP(128)
        branches[f"query-{step}"] = Branch(query, tracks="query", head=head)
        branches[f"key-{step}"] = Branch((general, *steps), tracks="query", head=head)
        contrasts.append(
            Contrast(
                f"query-{step}",
                f"key-{step}",
                score=Cosine(temperature),
                loss=InfoNCE(),
                positive=same("instance") & same(step),
                weight=1 / (1 + len(steps)),
                name=step,
            )
        )
    pipeline = Pipeline(sampler=sampler, reader=reader_for(shape), branches=branches, contrasts=contrasts)
    return Recipe(pipeline, source, training_for(shape))
