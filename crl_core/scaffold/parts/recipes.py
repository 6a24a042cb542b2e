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
        source: the source of series; by default made-up waves.
        encoder: by default a small convolutional network.
    """

    source: crl.Source = attrs.field(factory=Waves)
    encoder: crl.Encoder | None = None

    def recipe(self, training: crl.Training, **pipeline: Any) -> crl.Recipe:
        """The recipe of a method for these series; `pipeline` has the arguments of `crl.Pipeline`."""
        return crl.Recipe(crl.Pipeline(encoder=self.encoder or Convolutions(), **pipeline), self.source, training)


SERIES = ManySeries()
SHORT = {"epochs": 20, "batch_size": 64, "optimiser": crl.AdamW(3e-3), "schedule": crl.CosineDecay(warmup=1.0)}
"""For hundreds of short series, which train fast on a CPU."""


@crl.presets(waves=SHORT | {"size": 32, "temperature": 0.2})
def series_simclr(series: ManySeries = SERIES, size: int = 128, temperature: float = 0.1) -> crl.Recipe:
    """SimCLR for series: two views of each series; the views of all other series in the batch are negatives.

    The defaults are those of the paper, which are also the preset `paper`; `crl train` takes the first preset.

    Paper: Chen, Kornblith, Norouzi, Hinton 2020, A Simple Framework for Contrastive Learning of Visual Representations
    Checked: cosine scores, a head of two layers, and all 2N - 2 other views as negatives (equation 1).
    Differs: series, their views and their encoder instead of images.

    Args:
        size: the width of an embedding.
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
