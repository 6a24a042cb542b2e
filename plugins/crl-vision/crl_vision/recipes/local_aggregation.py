from __future__ import annotations

from functools import reduce
from operator import or_

import crl_core as crl
from crl_core import same

from ..images import DIGITS, Images


@crl.presets(
    digits=DIGITS | {"temperature": 0.1, "images_per_cluster": 40.0, "clusterings": 3, "background": 512, "warmup": 15}
)
def local_aggregation(
    images: Images = Images(),
    temperature: float = 0.07,
    images_per_cluster: float = 42.7,
    clusterings: int = 10,
    background: int = 4_096,
    warmup: int = 10,
) -> crl.Recipe:
    """Local aggregation: an image is drawn to those that any of several clusterings puts with it.

    Paper: Zhuang, Zhai, Yamins 2019, Local Aggregation for Unsupervised Learning of Visual Embeddings
    Checked: equations 3 and 4; close neighbours out of several k-means of a bank, computed anew before every epoch; the
        authors' settings for a ResNet-50: optimiser, schedule, and 30,000 clusters of 1.28 million images.
    Differs: the warm-up tells each image from its nearest ones by the softmax, where the authors' code uses NCE.

    Args:
        images_per_cluster: how many images there are for each cluster of a clustering.
        clusterings: how often the bank is clustered.
        background: nearest neighbours that an image is compared with.
        warmup: epochs without clusters.
    """
    score, loss = crl.Cosine(temperature), crl.LocalAggregation(background)
    close = reduce(or_, [same(f"cluster_{i}") for i in range(clusterings)], same("instance"))
    bank = crl.ClusteredBank(
        initial="random", clusters=images.clusters(images_per_cluster), clusterings=clusterings, warmup=warmup
    )
    sgd = crl.SGD(0.03, momentum=0.9, weight_decay=1e-4)
    return images.recipe(
        training=crl.Training(epochs=200, batch_size=128, optimiser=sgd, schedule=crl.StepDecay([0.76, 0.95])),
        sampler=images.augmented("moco-v1", count=1),
        branches={"query": crl.Branch("a", encoder=images.network(), head=crl.Linear(128))},
        contrasts=[crl.Contrast("query", None, score=score, loss=loss, keys=bank, positive=close)],
    )
