from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..encoders.word_vectors import WordVectors
from ..heads.by_place import ByPlace
from ..samplers.windows import Windows
from ..texts import Corpus


@crl.presets(docstrings={"optimiser": crl.Adagrad(0.1), "schedule": crl.Constant(), "batch_size": 64, "epochs": 10})
def nce_language_model(
    corpus: Corpus = Corpus(), size: int = 100, window: int = 2, noise: int = 25, batch_size: int = 64
) -> crl.Recipe:
    """A log-bilinear language model by NCE: the previous words, weighted by place, tell the next word from noise.

    Paper: Mnih, Teh 2012, A Fast and Simple Algorithm for Training Neural Probabilistic Language Models
    Checked: on a small vocabulary the perplexity falls with the number of noise words towards that of the exact
        softmax, and the mean log Z is near 0; noise by the unigram itself; log k p is subtracted.
    Differs: batches are some texts, about 1,000 words, the source's 1,000 words. The source halves the rate when the
        validation perplexity no longer falls; here it falls linearly. A place before the text's begin counts as
        nothing, and the first word of a text is not predicted. Biases begin at -log V.
    """
    true, queries = same("pair"), ByPlace(window, bias=True)
    inputs, outputs = WordVectors("words", size, bound=0.1), WordVectors("words", size, bound=0.1, bias=True)
    windows = Windows(window, "windows", noise, power=1.0, reduced=False, before=True, skip_equal=False)
    return corpus.recipe(
        crl.Training(epochs=20, batch_size=batch_size, optimiser=crl.SGD(0.03), schedule=crl.LinearDecay()),
        sampler=windows,
        branches={
            "input": crl.Branch("input", encoder=inputs, head=queries),
            "output": crl.Branch("output", encoder=outputs),
        },
        contrasts=[crl.Contrast("input", "output", loss=crl.NCE(), positive=true, negative=~true, keys=crl.PerQuery())],
    )
