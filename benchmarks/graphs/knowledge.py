"""Knowledge graphs: TransE beside pykeen, at its settings, and LRE."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from data import folder_of

import crl_core as crl

from .measure import Clock, Row, alone, has, mean, mean_figures, most_memory, row, seeded

# Data, and with the self-adversarial loss or not.
TRANS_E = {"umls": (False, True), "kinships": (False, True), "nations": (False, True)}


def trans_e(name: str, adversarial: bool, seeds: int) -> list[Row]:
    """64 numbers, L1, Adam at 0.005, batches of 256, false triples that may be known; 1 negative and margin 1 for 100
    epochs, or 16 and the self-adversarial loss with margin 6 for 60. CPU seconds are for an epoch, after a first one in
    which libraries load what they load late, and without evaluation."""
    runs, peers = [], []
    for seed in range(seeds):
        runs.append(_our_trans_e(name, adversarial, seed))
        if has("pykeen"):
            peers.append(_pykeens_trans_e(name, adversarial, seed))
    ours, theirs = mean_figures(runs), mean_figures(peers) if peers else {}
    label = f"trans-e {name}{' self-adversarial' if adversarial else ''}"
    return [
        row(label, metric, ours[metric], peer=theirs.get(metric), cpu=ours["cpu"], peer_cpu=theirs.get("cpu"))
        for metric in ("hits@10", "mrr")
    ]


def _our_trans_e(name: str, adversarial: bool, seed: int) -> dict[str, float]:
    from crl_graph.evaluators.filtered_ranking import FilteredRanking
    from crl_graph.losses.self_adversarial import SelfAdversarial
    from crl_graph.sources.triples import TripleFiles

    source = TripleFiles(str(_triples(name)))
    loss, negatives, epochs = (SelfAdversarial(6.0), 16, 60) if adversarial else (None, 1, 100)
    settings: dict[str, Any] = {"source": source, "preset": "umls", "loss": loss, "negatives": negatives}
    data = source.items("train").data
    _train(crl.recipe("trans-e", **settings).pipeline, source, data, 1)
    torch.manual_seed(seed)
    pipeline = crl.recipe("trans-e", filtered=False, **settings).pipeline
    with Clock() as clock:
        _train(pipeline, source, data, epochs)
    with torch.no_grad():
        figures = FilteredRanking()(pipeline.eval(), source, "test")
    return {"hits@10": figures["hits@10"], "mrr": figures["mrr"], "cpu": clock.seconds / epochs}


def _train(
    pipeline: Any, source: Any, triples: torch.Tensor, epochs: int, batch: int = 256, rate: float = 5e-3
) -> None:
    """Anybody's loop: `pipeline.loss`, the optimiser, `pipeline.on_step`."""
    pipeline.build(source.items("train").__getitems__([0, 1]), source).train()
    optimiser = torch.optim.SparseAdam(list(pipeline.parameters()), rate)
    for _ in range(epochs):
        for rows in torch.randperm(len(triples)).split(batch):
            losses = pipeline.loss(crl.View(triples[rows], {"instance": rows}))
            optimiser.zero_grad()
            losses.total.backward()
            optimiser.step()
            pipeline.on_step()


def _pykeens_trans_e(name: str, adversarial: bool, seed: int) -> dict[str, float]:
    import logging

    logging.disable(logging.WARNING)
    from pykeen.datasets import get_dataset
    from pykeen.evaluation import RankBasedEvaluator
    from pykeen.losses import MarginRankingLoss, NSSALoss
    from pykeen.models import TransE
    from pykeen.training import SLCWATrainingLoop

    torch.manual_seed(seed)
    data = get_dataset(dataset=name)
    loss: Any = NSSALoss(margin=6.0) if adversarial else MarginRankingLoss(margin=1.0)
    negatives, epochs = (16, 60) if adversarial else (1, 100)

    def trained(epochs: int) -> Any:
        model = TransE(triples_factory=data.training, embedding_dim=64, scoring_fct_norm=1, loss=loss, random_seed=seed)
        loop = SLCWATrainingLoop(
            model=model,
            triples_factory=data.training,
            optimizer=torch.optim.Adam(model.parameters(), 5e-3),
            negative_sampler_kwargs={"num_negs_per_pos": negatives},
        )
        loop.train(data.training, num_epochs=epochs, batch_size=256, use_tqdm=False)
        return model

    trained(1)
    torch.manual_seed(seed)
    with Clock() as clock:
        model = trained(epochs)
    known = [data.training.mapped_triples, data.validation.mapped_triples]
    found = RankBasedEvaluator(filtered=True).evaluate(
        model, data.testing.mapped_triples, additional_filter_triples=known, use_tqdm=False
    )
    hits, mrr = (found.get_metric(f"both.realistic.{m}") for m in ("hits_at_10", "inverse_harmonic_mean_rank"))
    return {"hits@10": hits, "mrr": mrr, "cpu": clock.seconds / epochs}


def trans_e_recipe(seeds: int) -> list[Row]:
    """`crl train trans-e --set source=pykeen-triples --set preset=umls`: the filter of known truths, a rate that falls
    to 0. CPU seconds are for a run of 100 epochs, without evaluation."""
    from crl_graph.evaluators.filtered_ranking import FilteredRanking
    from crl_graph.sources.triples import TripleFiles

    source = TripleFiles(str(_triples("umls")))
    runs = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        recipe = crl.recipe("trans-e", source=source, preset="umls")
        with Clock() as clock:
            pipeline = crl.fit(recipe.pipeline, source, seeded(recipe.training, seed), show=False).pipeline
        with torch.no_grad():
            runs.append({**FilteredRanking()(pipeline, source, "test"), "cpu": clock.seconds})
    ours = mean_figures(runs)
    return [row("trans-e umls as the recipe has it", name, ours[name], cpu=ours["cpu"]) for name in ("hits@10", "mrr")]


def _triples(name: str) -> Path:
    return next(folder_of("knowledge-graphs").rglob(f"{name}/train.txt")).parent


def lre(seeds: int) -> list[Row]:
    """Held-out triples of the family tree that are completed, of 12: the mean of 10 seeds, which also choose what
    is held out. CPU seconds are for a run."""
    from crl_graph.evaluators.filtered_ranking import filtered_ranks
    from crl_graph.sources.family_tree import FamilyTree

    found = []
    with Clock() as clock:
        for seed in range(10):
            torch.manual_seed(seed)
            source = FamilyTree(seed=seed)
            recipe = crl.recipe("lre", source=source)
            pipeline = crl.fit(recipe.pipeline, source, seeded(recipe.training, seed), show=False).pipeline
            with torch.no_grad():
                found.append(float((filtered_ranks(pipeline, source, "test")["tail"] == 1).sum()))
    return [row("lre family tree", "completed of 12", mean(found), cpu=clock.seconds / 10)]


def million(seeds: int) -> list[Row]:
    """TransE on a file of a million triples of 100,000 entities, read and trained for 50 steps in a process of its
    own: its most memory in GB, of which torch and the rest of the imports take some. CPU seconds are for all."""
    gigabytes, seconds = alone("graphs.knowledge", "read_and_train")
    return [row("trans-e a million triples", "memory in GB", gigabytes, cpu=seconds)]


def read_and_train() -> None:
    from crl_graph.sources.triples import TripleFiles

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        heads, tails = torch.randint(100_000, (2, 1_000_000)).tolist()
        relations = torch.randint(50, (1_000_000,)).tolist()
        with (Path(folder) / "train.tsv").open("w") as file:
            file.writelines(f"e{h}\tr{r}\te{t}\n" for h, r, t in zip(heads, relations, tails, strict=True))
        del heads, tails, relations
        source = TripleFiles(folder)
    triples = source.items("train").data
    _train(crl.recipe("trans-e", source=source, preset="umls").pipeline, source, triples[: 50 * 4096], 1, batch=4096)
    print(json.dumps([most_memory(), time.process_time()]))
