from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..encoders.word_vectors import WordVectors
from ..heads.window_mean import WindowMean
from ..samplers.windows import Windows
from ..texts import Corpus


@crl.presets(docstrings={"rate": 0.1, "epochs": 10})
def cbow(
    corpus: Corpus = Corpus(),
    size: int = 300,
    window: int = 5,
    noise: int = 5,
    rate: float = 0.05,
    batch_size: int = 8,
) -> crl.Recipe:
    """word2vec's continuous bag of words with negative sampling: the mean of a window tells its centre from noise.

    Paper: Mikolov, Chen, Corrado, Dean 2013, Efficient Estimation of Word Representations in Vector Space
    Checked: the value of a batch by hand in float64, with means over the words that are there; windows and noise as
        in skip-gram; as in word2vec.c, each word gets the whole gradient of the mean; words of one kind come together.
    Differs: a step follows the summed gradient of some texts' windows, where the source steps for each. Texts are
        shuffled in every epoch. The rate falls by steps, where the source's falls by words.

    Args:
        rate: of each window, as in word2vec; the loss of a step is the sum over its windows.
    """
    sgd, true = crl.SGD(rate), same("pair")
    inputs, outputs = WordVectors("words", size), WordVectors("words", size, bound=0.0)
    loss, keys = crl.NegativeSampling(summed=True), crl.PerQuery()
    return corpus.recipe(
        crl.Training(epochs=5, batch_size=batch_size, optimiser=sgd, schedule=crl.LinearDecay(final=0.002)),
        sampler=Windows(window, "windows", noise, subsample=1e-3),
        branches={
            "input": crl.Branch("input", encoder=inputs, head=WindowMean(whole_gradient=True)),
            "output": crl.Branch("output", encoder=outputs),
        },
        contrasts=[crl.Contrast("input", "output", loss=loss, positive=true, negative=~true, keys=keys)],
    )
