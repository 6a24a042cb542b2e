from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..images import DIGITS, Images


@crl.presets(digits=DIGITS | {"queue": 4_096, "momentum": 0.99, "images_per_cluster": 100.0})
def interclr(
    images: Images = Images(),
    temperature: float = 0.2,
    queue: int = 65_536,
    momentum: float = 0.999,
    images_per_cluster: float = 128.1,
    margin: float = -0.5,
    between: float = 0.25,
) -> crl.Recipe:
    """InterCLR: MoCo v2 within an image, and positives between images that are in the same cluster of a bank.

    Paper: Xie, Zhan, Liu, Ong, Loy 2022, Delving into Inter-Image Invariance for Unsupervised Visual Representations
    Checked: the settings of the authors' code: a margin on the cosine of positives of the same cluster, semi-hard
        negatives out of the nearest tenth of the bank, 10,000 clusters of 1.28 million images.
    Differs: the bank holds queries and keeps half of an old embedding, the authors' holds keys; all positives and
        negatives count, there one positive and a part of the pool are drawn. Clusters come from k-means before every
        epoch but the first; there they move with the batches, and small ones are filled up from large ones.

    Args:
        images_per_cluster: how many images there are for each cluster.
        margin: taken off the cosine of positives between images.
        between: weight of the term between images; the term within images has the rest of 1.
    """
    sgd = crl.SGD(0.03, momentum=0.9, weight_decay=1e-4)
    own, others = same("instance") & same("batch"), ~same("instance") & ~same("batch")
    score, loss, earlier = crl.Cosine(temperature), crl.InfoNCE(), crl.Queue(queue)
    return images.recipe(
        training=crl.Training(epochs=200, batch_size=256, optimiser=sgd, schedule=crl.CosineDecay()),
        sampler=images.augmented("moco-v2"),
        branches={
            "query": crl.Branch("a", encoder=images.network(), head=crl.MLP(128, norm=False)),
            "key": crl.Branch("b", tracks="query", update=crl.Momentum(momentum)),
        },
        contrasts=[
            crl.Contrast(
                "query", "key", score=score, loss=loss, keys=earlier, positive=own, negative=others, weight=1 - between
            ),
            crl.Contrast(
                "query",
                None,
                score=crl.Cosine(temperature),
                loss=crl.MarginNCE(margin / temperature),
                keys=crl.ClusteredBank(clusters=images.clusters(images_per_cluster), warmup=1),
                positive=same("cluster_0"),
                weight=between,
                name="between-images",
            ),
        ],
    )
