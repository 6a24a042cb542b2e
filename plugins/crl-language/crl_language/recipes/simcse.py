from __future__ import annotations

from typing import Literal

import crl_core as crl

from ..heads.pooler import Pooler
from ..samplers.twice import Twice
from ..texts import DOCSTRINGS, Sentences


@crl.presets(docstrings=DOCSTRINGS | {"pool": "mean"})
def simcse(
    sentences: Sentences = Sentences(longest=32), temperature: float = 0.05, pool: Literal["first", "mean"] = "first"
) -> crl.Recipe:
    """SimCSE, unsupervised: the same sentence twice, made different by dropout alone; all others are negatives.

    Paper: Gao, Yao, Chen 2021, SimCSE: Simple Contrastive Learning of Sentence Embeddings
    Checked: the cross-entropy of cosines over 0.05, as sentence-transformers computes it on the same vectors; two
        dropout masks; a head of one layer with tanh, in training alone; AdamW at 3e-5 falling to 0, 64 sentences in a
        batch, one epoch.
    Differs: theirs begins with BERT-base, trained on 3 billion words, and ours with nothing: the network is small, and
        it is to be trained at a higher rate and for longer (preset `docstrings`). Theirs also gives 1 % to BERT's own
        objective, as an option, which ours doesn't have.

    Args:
        pool: which vector of the network is a sentence's, unless an encoder is given.
    """
    return sentences.recipe(
        crl.Training(
            epochs=1,
            batch_size=64,
            optimiser=crl.AdamW(3e-5, weight_decay=0.0),
            schedule=crl.LinearDecay(),
            clip=1.0,
        ),
        sampler=Twice(),
        branches={
            "a": crl.Branch("a", encoder=sentences.network(pool), head=Pooler()),
            "b": crl.Branch("b", tracks="a"),
        },
        contrasts=[crl.Contrast("a", "b", score=crl.Cosine(temperature), loss=crl.InfoNCE())],
    )
