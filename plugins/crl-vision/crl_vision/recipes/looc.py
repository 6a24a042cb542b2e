from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..images import DIGITS, Images
from ..samplers.leave_one_out import LeaveOneOut


@crl.presets(digits=DIGITS)
def looc(images: Images = Images(), temperature: float = 0.2, kept: list[str] | None = None) -> crl.Recipe:
    """LooC: one space in which no step of the augmentation shows, and for every step one in which that step does.

    Paper: Xiao, Wang, Efros, Darrell 2021, What Should Not Be Contrastive in Contrastive Learning
    Checked: one encoder, a head for each space; in the general space the positive is the key that shares nothing with
        the query; in a step's own space it is the key with the query's parameters of that step, and the image's other
        keys are negatives (section 3).
    Differs: keys are of the batch and have a gradient, as in SimCLR, where the paper stands on MoCo's queue; keys of
        other images count in all their views; the paper keeps colour, rotation and texture. The training is MoCo v2's.

    Args:
        kept: steps with a space of their own; by default those of "crop", "colour" and "move" that are done.
    """
    augmented = LeaveOneOut(images.setting("simclr"), kept, images.size)
    query, general, *steps = augmented.views
    branches = {
        "query": crl.Branch(query, encoder=images.network(), head=crl.MLP(128)),
        "key": crl.Branch(general, tracks="query"),
    }
    spaces = {"general": ("query", "key", same("instance"))}
    for step in steps:
        head = crl.MLP(128)
        branches[f"query-{step}"] = crl.Branch(query, tracks="query", head=head)
        branches[f"key-{step}"] = crl.Branch((general, *steps), tracks="query", head=head)
        spaces[step] = (f"query-{step}", f"key-{step}", same("instance") & same(step))
    sgd = crl.SGD(0.03, momentum=0.9, weight_decay=1e-4)
    return images.recipe(
        training=crl.Training(epochs=200, batch_size=256, optimiser=sgd, schedule=crl.CosineDecay()),
        sampler=augmented,
        branches=branches,
        contrasts=[
            crl.Contrast(
                one,
                other,
                score=crl.Cosine(temperature),
                loss=crl.InfoNCE(),
                positive=positive,
                weight=1 / len(spaces),
                name=name,
            )
            for name, (one, other, positive) in spaces.items()
        ],
    )
