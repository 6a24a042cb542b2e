from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..images import DIGITS, Images


@crl.presets(digits=DIGITS | {"queue": 4_096, "momentum": 0.99})
def moco_v2(
    images: Images = Images(), temperature: float = 0.2, queue: int = 65_536, momentum: float = 0.999
) -> crl.Recipe:
    """MoCo v2: queries from one view, keys from the other through a momentum encoder, negatives from a queue of keys.

    Paper: Chen, Fan, Girshick, He 2020, Improved Baselines with Momentum Contrastive Learning
    Checked: the momentum update (equation 2 of MoCo, He et al. 2020); keys queued after the loss; no gradient to the
        key encoder; a head of two layers without batch norm; temperature, optimiser and schedule of the paper.
    Differs: an earlier key of the query's own image is neither positive nor negative. Batch normalisation sees all
        keys of a batch together, instead of keys shuffled between devices.
    """
    sgd = crl.SGD(0.03, momentum=0.9, weight_decay=1e-4)
    own, others = same("instance") & same("batch"), ~same("instance") & ~same("batch")
    score, earlier = crl.Cosine(temperature), crl.Queue(queue)
    return images.recipe(
        training=crl.Training(epochs=200, batch_size=256, optimiser=sgd, schedule=crl.CosineDecay()),
        sampler=images.augmented("moco-v2"),
        branches={
            "query": crl.Branch("a", encoder=images.network(), head=crl.MLP(128, norm=False)),
            "key": crl.Branch("b", tracks="query", update=crl.Momentum(momentum)),
        },
        contrasts=[
            crl.Contrast("query", "key", score=score, loss=crl.InfoNCE(), keys=earlier, positive=own, negative=others)
        ],
    )
