"""crl: contrastive representation learning, put together from parts.

    import crl_core as crl

Names are imported when they are first used, so that `import crl_core` alone is quick and needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .assembly import assemble as assemble
    from .assembly import describe as describe
    from .branch import Branch as Branch
    from .comparison import diff as diff
    from .contrast import Contrast as Contrast
    from .engine.fit import Fitted as Fitted
    from .engine.fit import fit as fit
    from .engine.training import Training as Training
    from .errors import CrlError as CrlError
    from .evaluation.evaluate import Evaluation as Evaluation
    from .evaluation.evaluate import evaluate as evaluate
    from .export import load as load
    from .export import save as save
    from .pairs import Candidates as Candidates
    from .pairs import Pairs as Pairs
    from .pairs import Scores as Scores
    from .parts.heads.linear import Linear as Linear
    from .parts.heads.mlp import MLP as MLP
    from .parts.heads.prediction import Prediction as Prediction
    from .parts.losses.info_nce import InfoNCE as InfoNCE
    from .parts.losses.regression import Regression as Regression
    from .parts.memories.in_batch import InBatch as InBatch
    from .parts.memories.queue import Queue as Queue
    from .parts.scores.cosine import Cosine as Cosine
    from .parts.scores.dot import Dot as Dot
    from .parts.scores.l2 import L2 as L2
    from .parts.updates.frozen import Frozen as Frozen
    from .parts.updates.momentum import Momentum as Momentum
    from .parts.updates.shared import Shared as Shared
    from .parts.updates.stop_gradient import StopGradient as StopGradient
    from .pipeline import Losses as Losses
    from .pipeline import Penalty as Penalty
    from .pipeline import Pipeline as Pipeline
    from .protocols import Embeddings as Embeddings
    from .protocols import Progress as Progress
    from .protocols import View as View
    from .protocols import Views as Views
    from .recipe import Recipe as Recipe
    from .registry import make as make
    from .registry import refresh as refresh
    from .registry import register as register
    from .registry.hooks import hook as hook
    from .relation import Relation as Relation
    from .relation import beyond as beyond
    from .relation import parse as parse
    from .relation import same as same
    from .relation import within as within
    from .spec import digest as digest

_HOMES = {
    "recipe": ("Recipe",),
    "export": ("load", "save"),
    "evaluation.evaluate": ("Evaluation", "evaluate"),
    "engine.training": ("Training",),
    "engine.fit": ("Fitted", "fit"),
    "assembly": ("assemble", "describe"),
    "branch": ("Branch",),
    "comparison": ("diff",),
    "contrast": ("Contrast",),
    "errors": ("CrlError",),
    "pairs": ("Candidates", "Pairs", "Scores"),
    "parts.heads.linear": ("Linear",),
    "parts.heads.mlp": ("MLP",),
    "parts.heads.prediction": ("Prediction",),
    "parts.losses.info_nce": ("InfoNCE",),
    "parts.losses.regression": ("Regression",),
    "parts.memories.in_batch": ("InBatch",),
    "parts.memories.queue": ("Queue",),
    "parts.scores.cosine": ("Cosine",),
    "parts.scores.dot": ("Dot",),
    "parts.scores.l2": ("L2",),
    "parts.updates.frozen": ("Frozen",),
    "parts.updates.momentum": ("Momentum",),
    "parts.updates.shared": ("Shared",),
    "parts.updates.stop_gradient": ("StopGradient",),
    "pipeline": ("Losses", "Penalty", "Pipeline"),
    "protocols": ("Embeddings", "Progress", "View", "Views"),
    "registry": ("make", "refresh", "register"),
    "registry.hooks": ("hook",),
    "relation": ("Relation", "beyond", "parse", "same", "within"),
    "spec": ("digest",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'crl_core' has no attribute {name!r}")
    found = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
