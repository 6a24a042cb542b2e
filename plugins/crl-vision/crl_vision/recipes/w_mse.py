from __future__ import annotations

from itertools import combinations

import crl_core as crl

from ..images import DIGITS, Images


@crl.presets(digits=DIGITS)
def w_mse(images: Images = Images(), width: int = 64, views: int = 2) -> crl.Recipe:
    """W-MSE: the embeddings of two views are equal after whitening, which leaves no way to collapse.

    Paper: Ermolov, Siarohin, Sangineto, Sebe 2021, Whitening for Self-Supervised Representation Learning
    Checked: whitening by Cholesky of slices of 2 · width pairs, dealt at random, each view's slice by itself, with no
        affine map; rows of length 1 afterwards; the mean over all pairs of views; a head with a hidden layer of 1,024
        numbers; 1,024 views in a batch; optimiser and schedule of the paper for CIFAR-10.
    Differs: the views are SimCLR's, with stronger colours than the paper's.

    Args:
        width: of the embeddings; a batch has at least twice as many items.
        views: of each image, 2 or 4 in the paper.
    """
    if views < 2:
        raise crl.CrlError(f"W-MSE compares at least 2 views of each image, not {views}")
    augmented = images.augmented("simclr", count=views)
    first, *others = augmented.views
    pairs = list(combinations(augmented.views, 2))
    adam, steps = crl.Adam(3e-3, weight_decay=1e-6), crl.StepDecay([0.95, 0.975], factor=0.2, warmup=5.0)
    return images.recipe(
        training=crl.Training(epochs=1_000, batch_size=1_024 // views, optimiser=adam, schedule=steps),
        sampler=augmented,
        branches={
            first: crl.Branch(first, encoder=images.network(), head=crl.MLP(width, hidden=1_024)),
            **{name: crl.Branch(name, tracks=first) for name in others},
        },
        contrasts=[crl.Contrast(one, other, loss=crl.Whitening(), weight=1 / len(pairs)) for one, other in pairs],
    )
