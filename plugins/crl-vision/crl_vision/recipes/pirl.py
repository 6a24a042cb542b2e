from __future__ import annotations

from typing import Literal

import crl_core as crl

from ..encoders.patchwise import Patchwise
from ..heads.pieces import Pieces
from ..images import DIGITS, Images
from ..memories.borrowed import Borrowed
from ..samplers.jigsaw import Jigsaw
from ..samplers.rotated import Rotated


@crl.presets(digits=DIGITS | {"accumulate": 1, "transformation": "rotation", "negatives": None})
def pirl(
    images: Images = Images(),
    transformation: Literal["jigsaw", "rotation"] = "jigsaw",
    share: float = 0.5,
    temperature: float = 0.07,
    negatives: int | None = 32_000,
) -> crl.Recipe:
    """PIRL: an image and a jigsaw, or a rotation, of it both find the image in a bank of all images.

    Paper: Misra, van der Maaten 2020, Self-Supervised Learning of Pretext-Invariant Representations
    Checked: two losses against one bank, filled by the image's embeddings alone (equation 5, λ a half); two heads;
        nine patches that are encoded apart and joined in random order; a bank that keeps half of the old (section 3);
        temperature, optimiser and schedule; batches cut into 32, as among the authors' GPUs.
    Differs: each loss is the softmax over the bank, as in the authors' later code, where the paper adds a term for each
        negative (equation 4). The views have SimCLR's colours.

    Args:
        transformation: small images, whose patches show nothing, are better rotated.
        share: λ, of the transformed image's loss; the rest is the image's own.
        negatives: how many are drawn from the bank; all if None.
    """
    jigsaw, setting, bank = transformation == "jigsaw", images.setting("simclr"), crl.Bank(initial="random")
    sampler = Jigsaw(setting, images.size) if jigsaw else Rotated(setting, images.size)
    image, other = sampler.views
    own, lent = (each if negatives is None else crl.Drawn(negatives, of=each) for each in (bank, Borrowed(bank)))
    score = crl.Cosine(temperature)
    cosine = crl.CosineDecay(final=1e-3)
    sgd = crl.SGD(0.12, momentum=0.9, weight_decay=1e-4)
    return images.recipe(
        training=crl.Training(epochs=800, batch_size=1_024, accumulate=32, optimiser=sgd, schedule=cosine),
        sampler=sampler,
        branches={
            "image": crl.Branch(image, encoder=Patchwise(images.network()), head=crl.Linear(128)),
            "other": crl.Branch(other, tracks="image", head=Pieces(128) if jigsaw else crl.Linear(128)),
        },
        contrasts=[
            crl.Contrast("image", None, score=score, loss=crl.InfoNCE(), keys=own, weight=1 - share),
            crl.Contrast("other", None, score=score, loss=crl.InfoNCE(), keys=lent, weight=share),
        ],
    )
