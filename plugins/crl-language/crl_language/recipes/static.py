from __future__ import annotations

import crl_core as crl

from ..encoders.bag import Bag
from ..samplers.sides import Sides
from ..texts import TextPairs

DOCSTRINGS = {"size": 256, "prefixes": [128, 64, 32], "batch_size": 512, "epochs": 10}


@crl.presets(docstrings=DOCSTRINGS)
def static(
    pairs: TextPairs = TextPairs(),
    size: int = 1_024,
    prefixes: list[int] = [512, 256, 128, 64, 32],  # noqa: B006
    temperature: float = 0.05,
) -> crl.Recipe:
    """Static sentence embeddings: the mean of a table of token vectors, of which every prefix is a vector too.

    Paper: Aarsen 2025, Train 400x faster Static Embedding Models with Sentence Transformers (an article);
        Kusupati et al. 2022, Matryoshka Representation Learning
    Checked: the sum of MultipleNegativesRankingLoss over all prefixes, on the same vectors; AdamW at 0.2, a tenth of
        warm-up, 2,048 pairs in a batch, one epoch, as in the article.
    Differs: pairs of neighbouring sentences by default, where the article has pairs of many published sets; texts that
        occur twice in a batch are not avoided. The pieces of words are learned from the source.

    Args:
        size: numbers in a vector.
        prefixes: the sizes of its prefixes that are trained as vectors too.
    """
    score, loss = crl.Cosine(temperature), crl.InfoNCE()
    branches = {"left": crl.Branch("left", encoder=Bag("pieces", size, special=5))}
    branches["right"] = crl.Branch("right", tracks="left")
    contrasts = [crl.Contrast("left", "right", score=score, loss=loss)]
    for cut in prefixes:
        left, right = f"left-{cut}", f"right-{cut}"
        branches[left] = crl.Branch(tap="left", head=crl.Prefix(cut))
        branches[right] = crl.Branch(tap="right", head=crl.Prefix(cut))
        contrasts.append(crl.Contrast(left, right, score=score, loss=loss))
    return pairs.recipe(
        crl.Training(
            epochs=1,
            batch_size=2_048,
            optimiser=crl.AdamW(0.2, weight_decay=0.0),
            schedule=crl.LinearDecay(warmup=0.1),
        ),
        sampler=Sides(),
        branches=branches,
        contrasts=contrasts,
    )
