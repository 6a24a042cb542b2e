from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..images import DIGITS, Images


@crl.presets(digits=DIGITS | {"batch_size": 64, "prototypes": 64, "hidden": 512, "epsilon": 0.025})
def swav(
    images: Images = Images(),
    prototypes: int = 3_000,
    hidden: int = 2_048,
    temperature: float = 0.1,
    epsilon: float = 0.05,
    queue: int = 0,
) -> crl.Recipe:
    """SwAV: every crop predicts to which prototypes a large crop of the same image is assigned.

    Paper: Caron, Misra, Mairal, Goyal, Bojanowski, Joulin 2020, Unsupervised Learning of Visual Features by Contrasting
        Cluster Assignments
    Checked: the swapped loss over all crops but the one assigned (equation 6); assignments from the large crops alone,
        by three iterations of Sinkhorn on scores without gradient; prototypes of length 1 after each step and held for
        the first epoch; a queue from the 15th epoch on; temperature, optimiser and schedule of the paper.
    Differs: all large crops of a batch are assigned together, and share one queue; the authors' code assigns one crop
        of all images at a time. The rate rises from 0, theirs from 0.3. Small images have fewer small crops, which show
        more of them.

    Args:
        hidden: width of the head's hidden layer.
        epsilon: of Sinkhorn; if all embeddings end up alike, with the loss at log K, a lower one helps.
        queue: earlier features that are assigned too, for batches below 256; 0 for none.
    """
    crops = images.crops()
    swapped = crl.SwappedAssignment(prototypes, 128, temperature, epsilon=epsilon, queue=queue)
    lars = crl.LARS(4.8, weight_decay=1e-6)
    return images.recipe(
        training=crl.Training(
            epochs=800, batch_size=4_096, optimiser=lars, schedule=crl.CosineDecay(warmup=10.0, final=1e-3)
        ),
        sampler=crops,
        branches={
            "large": crl.Branch(crops.large_views, encoder=images.network(), head=crl.MLP(128, hidden=hidden)),
            "small": crl.Branch(crops.small_views, tracks="large"),
        },
        contrasts=[crl.Contrast(("large", "small"), "large", loss=swapped, positive=same("instance") & ~same("row"))],
    )
