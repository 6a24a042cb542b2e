from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..encoders.word_vectors import WordVectors
from ..heads.by_place import ByPlace
from ..samplers.windows import Windows
from ..texts import Corpus


@crl.presets(docstrings={"epochs": 10, "batch_size": 32, "optimiser": crl.Adagrad(0.1)})
def ivlbl(
    corpus: Corpus = Corpus(), size: int = 100, window: int = 5, noise: int = 5, batch_size: int = 4
) -> crl.Recipe:
    """ivLBL: a word, weighted by the place of the other, tells each of the words on both sides from noise.

    Paper: Mnih, Kavukcuoglu 2013, Learning Word Embeddings Efficiently with Noise-Contrastive Estimation
    Checked: the score of a pair by hand in float64: cᵢ ⊙ r · q + b, less log k p of every word as noise.
    Differs: batches are some texts, about 100 words, where the source's are 100 words. Biases begin at -log V.
        The number of epochs is ours.
    """
    true, queries = same("pair"), ByPlace(2 * window, bias=True)
    inputs, outputs = WordVectors("words", size, bound=0.1), WordVectors("words", size, bound=0.1, bias=True)
    windows = Windows(window, "placed", noise, power=1.0, reduced=False, skip_equal=False)
    return corpus.recipe(
        crl.Training(epochs=5, batch_size=batch_size, optimiser=crl.Adagrad(0.03), schedule=crl.Constant()),
        sampler=windows,
        branches={
            "input": crl.Branch("input", encoder=inputs, head=queries),
            "output": crl.Branch("output", encoder=outputs),
        },
        contrasts=[crl.Contrast("input", "output", loss=crl.NCE(), positive=true, negative=~true, keys=crl.PerQuery())],
    )
