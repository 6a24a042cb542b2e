from __future__ import annotations

import crl_core as crl

from ..images import DIGITS, Images


@crl.presets(digits=DIGITS)
def dr_lim(
    images: Images = Images(),
    margin: float = 1.0,
    neighbours: str = 'same("instance") & ~same("row")',
    negatives: int = 4,
) -> crl.Recipe:
    """DrLIM: neighbours, however they are known, are mapped near each other, and other images a margin apart.

    Paper: Hadsell, Chopra, LeCun 2006, Dimensionality Reduction by Learning an Invariant Mapping
    Checked: D² for neighbours and max(0, margin - D)² for others (equation 4, without the factors ½). Neighbours are a
        relation: by default two views of one image, as the shifted digits of section 3.2.
    Differs: an embedding is as wide as the encoder, where the paper has 2 or 3 numbers. Its rate, batch and epochs are
        not published: these are ours, for its gradient descent.

    Args:
        neighbours: which images are, as the text of a relation. For images in order it may be
            within("time", 2) & ~same("row"), and for labels same("label") & ~same("row").
        negatives: drawn for each query and its neighbour; all of a batch would outweigh that one.
    """
    pair, others = crl.Pair(margin), crl.Drawn(negatives)
    return images.recipe(
        training=crl.Training(epochs=100, batch_size=128, optimiser=crl.SGD(0.01), schedule=crl.Constant()),
        sampler=images.augmented(),
        branches={"image": crl.Branch(("a", "b"), encoder=images.network())},
        contrasts=[crl.Contrast("image", "image", score=crl.L2(), loss=pair, positive=neighbours, keys=others)],
    )
