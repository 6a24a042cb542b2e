from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..images import DIGITS, Images


@crl.presets(digits=DIGITS | {"queue": 4_096, "momentum": 0.99, "images_per_cluster": (50.0, 25.0, 12.0), "warmup": 5})
def pcl(
    images: Images = Images(),
    temperature: float = 0.2,
    queue: int = 16_384,
    momentum: float = 0.999,
    images_per_cluster: tuple[float, ...] = (51.2, 25.6, 12.8),
    negatives: int = 16_384,
    warmup: int = 20,
) -> crl.Recipe:
    """PCL: MoCo v2, and prototypes of several clusterings as further positives, each as concentrated as its cluster.

    Paper: Li, Zhou, Xiong, Hoi 2021, Prototypical Contrastive Learning of Unsupervised Representations
    Checked: ProtoNCE (equation 11); the concentrations (equation 12), smoothed and scaled to a mean of the temperature;
        k-means of the momentum embeddings before every epoch after the warm-up; prototypes without gradient; the
        settings of PCL v2 in the authors' code: 25,000, 50,000 and 100,000 clusters of 1.28 million images.
    Differs: k-means has one start. An earlier key of the query's own image is neither positive nor negative.

    Args:
        images_per_cluster: how many images there are for each cluster, of each clustering.
        negatives: prototypes that are drawn as negatives, where there are more.
        warmup: epochs without prototypes.
    """
    clusterings = [crl.Prototypes(images.clusters(n), "key", temperature, warmup) for n in images_per_cluster]
    sgd = crl.SGD(0.03, momentum=0.9, weight_decay=1e-4)
    own, others = same("instance") & same("batch"), ~same("instance") & ~same("batch")
    score, earlier = crl.Cosine(temperature), crl.Queue(queue)
    return images.recipe(
        training=crl.Training(epochs=200, batch_size=256, optimiser=sgd, schedule=crl.CosineDecay()),
        sampler=images.augmented("moco-v2"),
        branches={
            "query": crl.Branch("a", encoder=images.network(), head=crl.Unit(crl.MLP(128, norm=False))),
            "key": crl.Branch("b", tracks="query", update=crl.Momentum(momentum)),
        },
        contrasts=[
            crl.Contrast("query", "key", score=score, loss=crl.InfoNCE(), keys=earlier, positive=own, negative=others),
            *(
                crl.Contrast(
                    "query",
                    None,
                    score=crl.Dot(),
                    loss=crl.InfoNCE(),
                    keys=crl.Drawn(negatives, of=each) if each.clusters > negatives else each,
                    positive=same("cluster"),
                    weight=1 / len(clusterings),
                    name=f"prototypes-{each.clusters}",
                )
                for each in clusterings
            ),
        ],
    )
