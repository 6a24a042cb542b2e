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
    from .pairs import Summed as Summed
    from .parts.heads.hidden_layer import HiddenLayer as HiddenLayer
    from .parts.heads.linear import Linear as Linear
    from .parts.heads.mlp import MLP as MLP
    from .parts.heads.nearest_neighbour import NearestNeighbour as NearestNeighbour
    from .parts.heads.prediction import Prediction as Prediction
    from .parts.heads.unit import Unit as Unit
    from .parts.losses.alignment_uniformity import AlignmentUniformity as AlignmentUniformity
    from .parts.losses.barlow_twins import BarlowTwins as BarlowTwins
    from .parts.losses.decoupled import Decoupled as Decoupled
    from .parts.losses.donsker_varadhan import DonskerVaradhan as DonskerVaradhan
    from .parts.losses.hard_negatives import HardNegatives as HardNegatives
    from .parts.losses.info_nce import InfoNCE as InfoNCE
    from .parts.losses.invariant_spreading import InvariantSpreading as InvariantSpreading
    from .parts.losses.jensen_shannon import JensenShannon as JensenShannon
    from .parts.losses.lifted import Lifted as Lifted
    from .parts.losses.lifted_structure import LiftedStructure as LiftedStructure
    from .parts.losses.local_aggregation import LocalAggregation as LocalAggregation
    from .parts.losses.margin import Margin as Margin
    from .parts.losses.margin_nce import MarginNCE as MarginNCE
    from .parts.losses.nce import NCE as NCE
    from .parts.losses.negative_sampling import NegativeSampling as NegativeSampling
    from .parts.losses.nwj import NWJ as NWJ
    from .parts.losses.pair import Pair as Pair
    from .parts.losses.proximal import Proximal as Proximal
    from .parts.losses.ranking_nce import RankingNCE as RankingNCE
    from .parts.losses.regression import Regression as Regression
    from .parts.losses.rince import RINCE as RINCE
    from .parts.losses.sigmoid import Sigmoid as Sigmoid
    from .parts.losses.swapped_assignment import SwappedAssignment as SwappedAssignment
    from .parts.losses.triplet import Triplet as Triplet
    from .parts.losses.vicreg import VICReg as VICReg
    from .parts.losses.whitening import Whitening as Whitening
    from .parts.memories.bank import Bank as Bank
    from .parts.memories.clustered_bank import ClusteredBank as ClusteredBank
    from .parts.memories.in_batch import InBatch as InBatch
    from .parts.memories.prototypes import Prototypes as Prototypes
    from .parts.memories.queue import Queue as Queue
    from .parts.scores.bilinear import Bilinear as Bilinear
    from .parts.scores.cosine import Cosine as Cosine
    from .parts.scores.dot import Dot as Dot
    from .parts.scores.joint import Joint as Joint
    from .parts.scores.l1 import L1 as L1
    from .parts.scores.l2 import L2 as L2
    from .parts.scores.order import Order as Order
    from .parts.updates.frozen import Frozen as Frozen
    from .parts.updates.momentum import Momentum as Momentum
    from .parts.updates.past import Past as Past
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
    from .relation import near as near
    from .relation import parse as parse
    from .relation import same as same
    from .relation import weighted as weighted
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
    "pairs": ("Candidates", "Pairs", "Scores", "Summed"),
    "parts.heads.hidden_layer": ("HiddenLayer",),
    "parts.heads.linear": ("Linear",),
    "parts.heads.mlp": ("MLP",),
    "parts.heads.nearest_neighbour": ("NearestNeighbour",),
    "parts.heads.prediction": ("Prediction",),
    "parts.heads.unit": ("Unit",),
    "parts.losses.alignment_uniformity": ("AlignmentUniformity",),
    "parts.losses.barlow_twins": ("BarlowTwins",),
    "parts.losses.decoupled": ("Decoupled",),
    "parts.losses.donsker_varadhan": ("DonskerVaradhan",),
    "parts.losses.hard_negatives": ("HardNegatives",),
    "parts.losses.info_nce": ("InfoNCE",),
    "parts.losses.invariant_spreading": ("InvariantSpreading",),
    "parts.losses.jensen_shannon": ("JensenShannon",),
    "parts.losses.lifted": ("Lifted",),
    "parts.losses.lifted_structure": ("LiftedStructure",),
    "parts.losses.local_aggregation": ("LocalAggregation",),
    "parts.losses.margin": ("Margin",),
    "parts.losses.margin_nce": ("MarginNCE",),
    "parts.losses.nce": ("NCE",),
    "parts.losses.negative_sampling": ("NegativeSampling",),
    "parts.losses.nwj": ("NWJ",),
    "parts.losses.pair": ("Pair",),
    "parts.losses.proximal": ("Proximal",),
    "parts.losses.ranking_nce": ("RankingNCE",),
    "parts.losses.regression": ("Regression",),
    "parts.losses.rince": ("RINCE",),
    "parts.losses.sigmoid": ("Sigmoid",),
    "parts.losses.swapped_assignment": ("SwappedAssignment",),
    "parts.losses.triplet": ("Triplet",),
    "parts.losses.vicreg": ("VICReg",),
    "parts.losses.whitening": ("Whitening",),
    "parts.memories.bank": ("Bank",),
    "parts.memories.clustered_bank": ("ClusteredBank",),
    "parts.memories.in_batch": ("InBatch",),
    "parts.memories.prototypes": ("Prototypes",),
    "parts.memories.queue": ("Queue",),
    "parts.scores.cosine": ("Cosine",),
    "parts.scores.dot": ("Dot",),
    "parts.scores.l2": ("L2",),
    "parts.scores.order": ("Order",),
    "parts.scores.l1": ("L1",),
    "parts.scores.joint": ("Joint",),
    "parts.scores.bilinear": ("Bilinear",),
    "parts.updates.frozen": ("Frozen",),
    "parts.updates.momentum": ("Momentum",),
    "parts.updates.past": ("Past",),
    "parts.updates.shared": ("Shared",),
    "parts.updates.stop_gradient": ("StopGradient",),
    "pipeline": ("Losses", "Penalty", "Pipeline"),
    "protocols": ("Embeddings", "Progress", "View", "Views"),
    "registry": ("make", "refresh", "register"),
    "registry.hooks": ("hook",),
    "relation": ("Relation", "beyond", "near", "parse", "same", "weighted", "within"),
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
