from __future__ import annotations

from typing import Literal

import attrs

import crl_core as crl
from crl_core import same, within

from ..encoders.bag import Bag
from ..encoders.gru import GRU
from ..heads.joined import Joined
from ..losses.zero_candidate import ZeroCandidate
from ..samplers.twice import Twice
from ..texts import Corpus

OURS = {"network": "bag", "size": 128, "epochs": 12, "min_count": 2, "optimiser": crl.Adam(1e-2)}


@crl.presets(docstrings=OURS)
def quick_thought(
    corpus: Corpus = Corpus(),
    network: Literal["gru", "bag"] = "gru",
    size: int = 1_200,
    width: int = 620,
    context: int = 1,
    column: str = "document",
) -> crl.Recipe:
    """QuickThought: of the sentences of a stretch of text, one encoder's vector picks its neighbours by another's.

    Paper: Logeswaran, Lee 2018, An efficient framework for learning sentence representations
    Checked: the authors' loss on the same scores: dot products without a temperature, targets shared by the neighbours,
        a sentence's score with itself set to 0; two encoders with tables of their own, of which the representation has
        both; 400 sentences that follow each other in a batch, Adam at 0.0005, gradients cut at 5, one epoch.
    Differs: neighbours are of the same document, and in the code also across its end. Words of the training texts
        alone, without the 3 million of word2vec that the code adds afterwards.

    Args:
        network: "gru", or "bag" for the mean of vectors of words; the code has their sum.
        size: numbers in the vector of each encoder.
        width: numbers in the vector of a word, before the GRU.
        context: how far away a neighbour may be.
        column: neighbours have the same value in it: "document", or "section" of `Lines`.
    """
    beside = within("instance", context) & ~same("instance") & same(column)
    one, other = (GRU("words", size, width) if network == "gru" else Bag("words", size, deviation=0.1) for _ in "ab")
    stretches = attrs.evolve(corpus, source=crl.Contiguous(corpus.source))
    return stretches.recipe(
        crl.Training(
            epochs=1, batch_size=400, optimiser=crl.Adam(5e-4), schedule=crl.Constant(), clip=5.0
        ),
        sampler=Twice(),
        branches={
            "text": crl.Branch(("a", "b"), encoder={"a": one, "b": other}, head=Joined()),
            "sentence": crl.Branch(tap="text.a"),
            "neighbour": crl.Branch(tap="text.b"),
        },
        contrasts=[
            crl.Contrast(
                "sentence", "neighbour", score=crl.Dot(), loss=ZeroCandidate(),
                positive=beside, negative=~beside & ~same("instance"),
            )
        ],
    )  # fmt: skip
