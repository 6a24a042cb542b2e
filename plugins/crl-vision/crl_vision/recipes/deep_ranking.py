from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..images import DIGITS, Images


@crl.presets(digits=DIGITS | {"width": 128})
def deep_ranking(images: Images = Images(), width: int = 4_096, margin: float = 0.2, within: float = 0.2) -> crl.Recipe:
    """Deep ranking: the more relevant image is nearer than the less relevant one, by a margin.

    Paper: Wang, Song, Leung, Rosenberg, Wang, Philbin, Chen, Wu 2014, Learning Fine-Grained Image Similarity with Deep
        Ranking
    Checked: the hinge of squared distances of embeddings of length 1 (equation 3), and triplets of two kinds, whose
        negative is of another category or less relevant within the same one.
    Differs: relevance has three grades: another view of the image, an image of the same label, any other. The paper's
        are numbers, by features that are not public, and triplets are drawn by them; all triplets of a batch count
        here. One encoder, not three of several scales, without dropout. Rate, batch, epochs and margin are ours.

    Args:
        within: weight of the triplets within a label; those with another label have the rest of 1.
    """
    if not 0 <= within <= 1:
        raise crl.CrlError(f"within is a share of the objective, from 0 to 1, not {within}")

    def ranked(name: str, near: crl.Relation, far: crl.Relation, weight: float) -> crl.Contrast:
        score, loss = crl.L2(squared=True), crl.Triplet(margin)
        return crl.Contrast(
            "image", "image", score=score, loss=loss, positive=near, negative=far, weight=weight, name=name
        )

    view, label = same("instance") & ~same("row"), same("label") & ~same("row")
    sgd, head = crl.SGD(0.01, momentum=0.9, weight_decay=1e-3), crl.Unit(crl.Linear(width))
    return images.recipe(
        training=crl.Training(epochs=100, batch_size=256, optimiser=sgd, schedule=crl.Constant()),
        sampler=images.augmented(),
        branches={"image": crl.Branch(("a", "b"), encoder=images.network(), head=head)},
        contrasts=[
            ranked("within", view, same("label") & ~same("instance"), within),
            ranked("between", label, ~same("label"), 1 - within),
        ],
    )
