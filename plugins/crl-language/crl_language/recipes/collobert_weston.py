from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..encoders.word_vectors import WordVectors
from ..heads.in_window import Around, Centre
from ..samplers.windows import Windows
from ..scores.window_score import WindowScore
from ..texts import Corpus


@crl.presets(docstrings={"epochs": 5, "batch_size": 64, "optimiser": crl.Adagrad(0.05)})
def collobert_weston(
    corpus: Corpus = Corpus(), size: int = 50, window: int = 5, hidden: int = 100, batch_size: int = 1
) -> crl.Recipe:
    """Collobert and Weston's language model: a window of text scores higher than the same with another word inside.

    Paper: Collobert, Weston 2008, A Unified Architecture for Natural Language Processing: Deep Neural Networks with
        Multitask Learning
    Checked: the value of a batch by hand: max(0, 1 - f(s) + f(sʷ)) for windows put together word by word; words of one
        kind come together.
    Differs: the source's language model is one task of several, on a billion words, with a dictionary of 30,000; here
        it is alone. A step follows the mean over a text's windows, the source's one window. A place beyond the text's
        ends is zeros, the source's a word of its own. The score has no biases. The convolution reads 5 words at a time;
        the rate and the number of epochs are ours.
    """
    words, around, centre = WordVectors("words", size), Around(), Centre(window)
    windows = Windows(window, "windows", 1, power=0.0, reduced=False)
    score, loss, true = WindowScore(2 * window + 1, hidden=hidden), crl.Triplet(1.0, mining="hard"), same("pair")
    return corpus.recipe(
        crl.Training(epochs=5, batch_size=batch_size, optimiser=crl.SGD(0.1), schedule=crl.Constant()),
        sampler=windows,
        branches={
            "around": crl.Branch("input", encoder=words, head=around),
            "centre": crl.Branch("output", tracks="around", head=centre),
        },
        contrasts=[
            crl.Contrast("around", "centre", score=score, loss=loss, positive=true, negative=~true, keys=crl.PerQuery())
        ],
    )
