from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..images import DIGITS, Images


@crl.presets(digits=DIGITS)
def simclr_v2(images: Images = Images(), temperature: float = 0.1) -> crl.Recipe:
    """SimCLR v2: SimCLR with a head of three layers, of which the first belongs to the representation.

    Paper: Chen, Kornblith, Swersky, Norouzi, Hinton 2020, Big Self-Supervised Models are Strong Semi-Supervised
        Learners
    Checked: NT-Xent (equation 1); a head of three layers; the branch "middle" is the representation after the first of
        them, from which the paper fine-tunes: `pipeline.encode(batch, "middle")`; temperature, optimiser and schedule.
    Differs: no memory of momentum keys and no distillation by labels. By default the encoder is evaluated.
    """
    augmented = images.augmented("simclr")
    score = crl.Cosine(temperature)
    lars = crl.LARS(6.4, weight_decay=1e-4)
    return images.recipe(
        training=crl.Training(epochs=800, batch_size=4_096, optimiser=lars, schedule=crl.CosineDecay(warmup=40.0)),
        sampler=augmented,
        branches={
            "encoder": crl.Branch(augmented.views, encoder=images.network()),
            "middle": crl.Branch(tap="encoder", head=crl.HiddenLayer()),
            "projection": crl.Branch(tap="middle", head=crl.MLP(128)),
        },
        contrasts=[
            crl.Contrast(
                "projection", "projection", score=score, loss=crl.InfoNCE(), positive=same("instance") & ~same("row")
            )
        ],
    )
