"""What pykeen computes of the same vectors, where it is installed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from crl_graph.evaluators.filtered_ranking import FilteredRanking
from crl_graph.losses.margin_ranking import MarginRanking
from crl_graph.losses.self_adversarial import SelfAdversarial
from crl_graph.recipes.trans_e import trans_e
from crl_graph.sources.pykeen_triples import PykeenTriples
from torch import Tensor

import crl_core as crl
from crl_core import Scores

pytestmark = pytest.mark.peers


def places(names: tuple[str, ...], theirs: dict[str, int]) -> Tensor:
    """Our number of each of their names."""
    return torch.tensor([names.index(name) for name in sorted(theirs, key=lambda name: theirs[name])])


@pytest.mark.parametrize("norm", [1, 2])
def test_filtered_ranks_are_those_of_pykeen(norm: int) -> None:
    pytest.importorskip("pykeen")
    from pykeen.datasets import Nations as Theirs
    from pykeen.evaluation import RankBasedEvaluator
    from pykeen.models import TransE

    source, data = PykeenTriples("nations"), Theirs()
    pipeline = crl.recipe(trans_e, source=source, size=12, distance="l1" if norm == 1 else "l2").pipeline
    pipeline.build(source.items("train").__getitems__([0, 1]), source)
    query: Any = pipeline.branches["query"].encoder
    model = TransE(triples_factory=data.training, embedding_dim=12, scoring_fct_norm=norm)
    # Where several triples have the same distance, rounding decides who is first.
    for ours in (query["head"], query["relation"]):
        ours.weight.data.mul_(64).round_().div_(64)
    entity, relation = (
        places(names, ids)
        for names, ids in (
            (source.entities, data.training.entity_to_id),
            (source.relations, data.training.relation_to_id),
        )
    )
    model.entity_representations[0]._embeddings.weight.data.copy_(query["head"].weight.data[entity])
    model.relation_representations[0]._embeddings.weight.data.copy_(query["relation"].weight.data[relation])
    assert data.testing is not None
    assert data.validation is not None
    known = [data.training.mapped_triples, data.validation.mapped_triples]
    theirs = RankBasedEvaluator(filtered=True).evaluate(
        model, data.testing.mapped_triples, additional_filter_triples=known, use_tqdm=False, batch_size=32
    )
    with torch.no_grad():
        ours = FilteredRanking()(pipeline, source, "test")
    for side, theirs_side in (("", "both"), (" (head)", "head"), (" (tail)", "tail")):
        for mine, name in (
            ("mean rank", "arithmetic_mean_rank"),
            ("mrr", "inverse_harmonic_mean_rank"),
            ("hits@1", "hits_at_1"),
            ("hits@3", "hits_at_3"),
            ("hits@10", "hits_at_10"),
        ):
            wanted = theirs.get_metric(f"{theirs_side}.realistic.{name}")
            assert ours[mine + side] == pytest.approx(wanted, rel=1e-6), (mine, side)


def test_losses_are_those_of_pykeen() -> None:
    losses = pytest.importorskip("pykeen.losses")
    values = -8 * torch.rand(7, 5)
    positive = torch.zeros_like(values, dtype=torch.bool)
    positive[:, 0] = True
    found = MarginRanking(1.0)(Scores.of(values, positive))
    expected = losses.MarginRankingLoss(1.0).process_slcwa_scores(values[:, :1], values[:, 1:])
    torch.testing.assert_close(found.value.sum() / found.terms.sum(), expected)
    adversarial = SelfAdversarial(6.0)(Scores.of(values, positive)).mean()
    expected = losses.NSSALoss(6.0).process_slcwa_scores(values[:, :1], values[:, 1:])
    torch.testing.assert_close(adversarial, expected)
