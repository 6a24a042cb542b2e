from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..encoders.word_vectors import WordVectors
from ..samplers.windows import Windows
from ..texts import Corpus


@crl.presets(docstrings={"rate": 0.05, "epochs": 10})
def skip_gram(
    corpus: Corpus = Corpus(),
    size: int = 300,
    window: int = 5,
    noise: int = 5,
    rate: float = 0.025,
    batch_size: int = 8,
) -> crl.Recipe:
    """word2vec's skip-gram with negative sampling: a word tells the words around it from noise.

    Paper: Mikolov, Sutskever, Chen, Corrado, Dean 2013, Distributed Representations of Words and Phrases and their
        Compositionality
    Checked: value and gradient of a batch by hand in float64; the laws of subsampling, windows and noise; the output
        table begins at zero, and noise that is the word itself is skipped; words of one kind come together. On a Bible,
        61 % of the ten nearest words are gensim's, and 63 % between two seeds of gensim, if its texts are shuffled too.
    Differs: a step follows the summed gradient of some texts' pairs, where the source steps for each pair. Texts are
        shuffled in every epoch. The rate falls by steps, where the source's falls by words.

    Args:
        rate: of each pair, as in word2vec; the loss of a step is the sum over its pairs.
    """
    sgd, true = crl.SGD(rate), same("pair")
    loss, keys = crl.NegativeSampling(summed=True), crl.PerQuery()
    return corpus.recipe(
        crl.Training(epochs=5, batch_size=batch_size, optimiser=sgd, schedule=crl.LinearDecay(final=0.004)),
        sampler=Windows(window, noise=noise, subsample=1e-3),
        branches={
            "input": crl.Branch("input", encoder=WordVectors("words", size)),
            "output": crl.Branch("output", encoder=WordVectors("words", size, bound=0.0)),
        },
        contrasts=[crl.Contrast("input", "output", loss=loss, positive=true, negative=~true, keys=keys)],
    )
