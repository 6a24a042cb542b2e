from __future__ import annotations

from typing import Any

import attrs

import crl_core as crl
from crl_core import same

from .encoders import Convolutions
from .samplers import Jittered
from .sources import Waves


@attrs.frozen(eq=False)
class ManySeries:
    """The series of a recipe. Its fields are settings of the run: `--set source=…`, `--set encoder=…`.

    Args:
        source: of series; waves made up on the spot by default.
        encoder: a small convolutional network by default.
    """

    source: crl.Source = attrs.field(factory=Waves)
    encoder: crl.Encoder | None = None

    def recipe(self, training: crl.Training, **pipeline: Any) -> crl.Recipe:
        """The recipe of a method for these series; `pipeline` is what `crl.Pipeline` takes."""
        return crl.Recipe(crl.Pipeline(encoder=self.encoder or Convolutions(), **pipeline), self.source, training)


SERIES = ManySeries()
SHORT = {"epochs": 20, "batch_size": 64, "optimiser": crl.AdamW(3e-3), "schedule": crl.CosineDecay(warmup=1.0)}
"""For hundreds of short series: soon done on a CPU."""


@crl.presets(waves=SHORT | {"size": 32, "temperature": 0.2})
def series_simclr(series: ManySeries = SERIES, size: int = 128, temperature: float = 0.1) -> crl.Recipe:
    """SimCLR for series: two views of each, every view of another series in the batch a negative.

    Defaults are the paper's, and the preset `paper` is always there; `crl train` takes the first preset.

    Paper: Chen, Kornblith, Norouzi, Hinton 2020, A Simple Framework for Contrastive Learning of Visual Representations
    Checked: cosine scores, a head of two layers, and all 2N - 2 other views as negatives (equation 1).
    Differs: series, their views and their encoder in place of images'.

    Args:
        size: numbers in an embedding.
    """
    return series.recipe(
        training=crl.Training(
            epochs=1_000,
            batch_size=4_096,
            optimiser=crl.LARS(4.8, weight_decay=1e-6),
            schedule=crl.CosineDecay(warmup=10.0),
        ),
        sampler=Jittered(),
        head=crl.MLP(size),
        score=crl.Cosine(temperature),
        loss=crl.InfoNCE(),
        positive=same("instance") & ~same("row"),
    )
