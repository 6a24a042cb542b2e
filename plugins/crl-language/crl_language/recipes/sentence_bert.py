from __future__ import annotations

import attrs

import crl_core as crl
from crl_core import same

from ..samplers.twice import Twice
from ..texts import DOCSTRINGS, Sentences


@crl.presets(docstrings=DOCSTRINGS | {"groups": 64})
def sentence_bert(
    sentences: Sentences = Sentences(longest=128), margin: float = 1.0, section: str = "document", groups: int = 8
) -> crl.Recipe:
    """Sentence-BERT by triplets: a sentence is nearer to one of its own section than to one of another section.

    Paper: Reimers, Gurevych 2019, Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks (triplet objective)
    Checked: TripletLoss of sentence-transformers on the same vectors: Euclidean distances, margin 1, one triplet for
        each sentence; the mean over a text's tokens without padding; Adam at 0.00002 after a tenth of warm-up, 16
        sentences in a batch, one epoch.
    Differs: theirs begins with BERT-base, and ours with nothing: the network is small, and it is to be trained at a
        higher rate (preset `docstrings`). Negatives are of any other section in the batch, where theirs are of the same
        article. Sections are documents by default.

    Args:
        section: the column that says which sentences belong together: "document", or "section" of `Lines`.
        groups: sections in a batch.
    """
    grouped = attrs.evolve(sentences, source=crl.ByColumn(sentences.source, section, groups))
    alike = same(section) & ~same("instance")
    loss = crl.Triplet(margin, mining="hard")  # of the one triplet that is drawn
    return grouped.recipe(
        crl.Training(
            epochs=1,
            batch_size=16,
            optimiser=crl.AdamW(2e-5, weight_decay=0.01),
            schedule=crl.LinearDecay(warmup=0.1),
        ),
        sampler=Twice(),
        branches={"text": crl.Branch("a", encoder=sentences.network("mean"))},
        contrasts=[
            crl.Contrast(
                "text", "text", score=crl.L2(), loss=loss, positive=alike, negative=~same(section), keys=crl.Drawn(1)
            )
        ],
    )
