from __future__ import annotations

from crl_core import MLP, AdamW, Cosine, CosineDecay, InfoNCE, Pipeline, Recipe, Source, Training, same

from .encoders import Convolutions
from .samplers import Jittered
from .sources import Waves


def series_simclr(source: Source | None = None, temperature: float = 0.2) -> Recipe:
    """SimCLR for series: two views of each, every view of another series in the batch a negative.

    Paper: Chen, Kornblith, Norouzi, Hinton 2020, A Simple Framework for Contrastive Learning of
    Visual Representations

    Checked against: cosine scores, a head of two layers, and all 2N - 2 other views as negatives (equation 1).

    Args:
        source: of series; waves made up on the spot by default.
    """
    pipeline = Pipeline(
        sampler=Jittered(),
        encoder=Convolutions(),
        head=MLP(32),
        score=Cosine(temperature),
        loss=InfoNCE(),
        positive=same("instance") & ~same("row"),
    )
    training = Training(epochs=20, batch_size=64, optimiser=AdamW(3e-3), schedule=CosineDecay(warmup=1.0))
    return Recipe(pipeline, source or Waves(), training)
