"""Methods on graphs: what they reach and cost, beside other libraries and published figures.

    python benchmarks/graph.py [--json] [--only NAME] [--seeds 3]

Every row is {name, metric, ours, peer, published, cpu_seconds, peer_cpu_seconds}; the peer is measured in
the same run where it is installed, and null where it isn't. CPU seconds are what the note on the rows' function says.
One thread. The data are those of `python benchmarks/data.py --all`; a group whose data are absent says so and has no
rows.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import torch
from data import folder_of
from rows import show

Row: TypeAlias = dict[str, Any]
Group: TypeAlias = Callable[[int], list[Row]]


def row(
    name: str,
    metric: str,
    ours: float | None,
    *,
    peer: float | None = None,
    published: float | None = None,
    cpu: float | None = None,
    peer_cpu: float | None = None,
) -> Row:
    figures = {"ours": ours, "peer": peer, "published": published, "cpu_seconds": cpu, "peer_cpu_seconds": peer_cpu}
    return {"name": name, "metric": metric} | {
        key: value if value is None else float(f"{value:.4g}") for key, value in figures.items()
    }


class Clock:
    """CPU seconds of this process."""

    def __enter__(self) -> Clock:
        self.start = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.process_time() - self.start


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def mean_figures(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: mean([run[name] for run in runs]) for name in runs[0]}


def has(package: str) -> bool:
    return find_spec(package) is not None


# -- knowledge graphs: TransE beside pykeen, at its settings -------------------------------------------------

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
    from crl_graph.recipes import trans_e as recipes
    from crl_graph.sources.triples import TripleFiles

    source = TripleFiles(str(_triples(name)))
    loss, negatives, epochs = (SelfAdversarial(6.0), 16, 60) if adversarial else (None, 1, 100)
    data = source.items("train").data
    _train(recipes.trans_e(source, loss=loss, negatives=negatives).pipeline, source, data, 1)
    torch.manual_seed(seed)
    pipeline = recipes.trans_e(source, distance="l1", loss=loss, negatives=negatives, filtered=False).pipeline
    with Clock() as clock:
        _train(pipeline, source, data, epochs)
    with torch.no_grad():
        figures = FilteredRanking()(pipeline.eval(), source, "test")
    return {"hits@10": figures["hits@10"], "mrr": figures["mrr"], "cpu": clock.seconds / epochs}


def _train(
    pipeline: Any, source: Any, triples: torch.Tensor, epochs: int, batch: int = 256, rate: float = 5e-3
) -> None:
    """Anybody's loop: `pipeline.loss`, the optimiser, `pipeline.on_step`."""
    from crl_core import View

    pipeline.build(source.items("train").__getitems__([0, 1]), source).train()
    optimiser = torch.optim.SparseAdam(list(pipeline.parameters()), rate)
    for _ in range(epochs):
        for rows in torch.randperm(len(triples)).split(batch):
            losses = pipeline.loss(View(triples[rows], {"instance": rows}))
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
    """`crl train trans-e --set source=pykeen-triples`, as it is: the filter of known truths, a rate that falls to 0.
    CPU seconds are for a run of 100 epochs, without evaluation."""
    from crl_graph.evaluators.filtered_ranking import FilteredRanking
    from crl_graph.recipes import trans_e as recipes
    from crl_graph.sources.triples import TripleFiles

    from crl_core import fit

    source = TripleFiles(str(_triples("umls")))
    runs = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        recipe = recipes.trans_e(source)
        with Clock() as clock:
            pipeline = fit(recipe.pipeline, source, _seeded(recipe.training, seed), show=False).pipeline
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
    from crl_graph.recipes import lre as recipes
    from crl_graph.sources.family_tree import FamilyTree

    from crl_core import fit

    found = []
    with Clock() as clock:
        for seed in range(10):
            torch.manual_seed(seed)
            source = FamilyTree(seed=seed)
            recipe = recipes.lre(source)
            pipeline = fit(recipe.pipeline, source, _seeded(recipe.training, seed), show=False).pipeline
            with torch.no_grad():
                found.append(float((filtered_ranks(pipeline, source, "test")["tail"] == 1).sum()))
    return [row("lre family tree", "completed of 12", mean(found), cpu=clock.seconds / 10)]


def _seeded(training: Any, seed: int) -> Any:
    import attrs

    return attrs.evolve(training, seed=seed)


def million(seeds: int) -> list[Row]:
    """TransE on a file of a million triples of 100,000 entities, read and trained for 50 steps in a process of its
    own: its most memory in GB, of which torch and the rest of the imports take some. CPU seconds are for all."""
    code = "import graph, torch; torch.set_num_threads(1); graph.read_and_train()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    gigabytes, seconds = json.loads(done.stdout.splitlines()[-1])
    return [row("trans-e a million triples", "memory in GB", gigabytes, cpu=seconds)]


def read_and_train() -> None:
    from crl_graph.recipes import trans_e as recipes
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
    _train(recipes.trans_e(source).pipeline, source, triples[: 50 * 4096], 1, batch=4096)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    print(json.dumps([most, time.process_time()]))


# -- walks ---------------------------------------------------------------------------------------------------


def node2vec_karate(seeds: int) -> list[Row]:
    """Five-fold accuracy of a logistic regression on the vectors of the karate club. CPU seconds are for a run."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    found = []
    with Clock() as clock:
        for seed in range(seeds):
            z, source = _vectors("karate", seed, p=1.0, q=1.0)
            folds = StratifiedKFold(5, shuffle=True, random_state=0)
            probe = LogisticRegression(max_iter=1_000)
            found.append(float(cross_val_score(probe, z.numpy(), source.label.numpy(), cv=folds).mean()))
    return [row("node2vec karate", "five-fold accuracy", mean(found), cpu=clock.seconds / seeds)]


def node2vec_les_miserables(seeds: int) -> list[Row]:
    """Modularity of 6 clusters at q = 0.5 and of 3 at q = 2, as many as the paper's figure 3 has, and of 6 at both.
    The peer is gensim's word2vec, the authors' learner, on our walks, 10 a node. CPU seconds are for a run."""
    from crl_graph.evaluators.communities import clustered, modularity

    rows = []
    for q in (0.5, 2.0):
        runs: list[dict[str, float]] = []
        theirs: list[dict[str, float]] = []
        for seed in range(seeds):
            with Clock() as clock:
                z, source = _vectors("les-miserables", seed, p=1.0, q=q)
            tables = [(runs, z, clock.seconds)]
            if has("gensim"):
                with Clock() as clock:
                    z = _gensims(source.adjacency, q, seed)
                tables.append((theirs, z, clock.seconds))
            for into, z, seconds in tables:
                figures = {str(k): modularity(source.adjacency, clustered(z, k)) for k in (3, 6)}
                into.append(figures | {"cpu": seconds})
        ours, peer = mean_figures(runs), mean_figures(theirs) if theirs else {}
        rows += [
            row(
                f"node2vec les-miserables q={q}",
                f"modularity of {clusters} clusters",
                ours[clusters],
                peer=peer.get(clusters),
                cpu=ours["cpu"],
                peer_cpu=peer.get("cpu"),
            )
            for clusters in ("6", "3")
        ]
    return rows


def _vectors(name: Any, seed: int, p: float, q: float) -> tuple[torch.Tensor, Any]:
    from crl_graph.recipes import node2vec as recipes
    from crl_graph.sources.networkx import NetworkX

    from crl_core import fit

    torch.manual_seed(seed)
    source = NetworkX(name)
    recipe = recipes.node2vec(source, p=p, q=q)
    pipeline = fit(recipe.pipeline, source, _seeded(recipe.training, seed), show=False).pipeline
    return pipeline.encode(_whole(source)), source


def _gensims(graph: Any, q: float, seed: int) -> torch.Tensor:
    from crl_graph.walk import walk
    from gensim.models import Word2Vec

    walks = walk(graph, torch.arange(len(graph)).repeat(10), 80, 1.0, q)
    text = [[str(node) for node in path] for path in walks[torch.randperm(len(walks))].tolist()]
    model = Word2Vec(text, vector_size=16, window=10, min_count=0, sg=1, workers=1, epochs=1, seed=seed)
    return torch.tensor(model.wv[[str(node) for node in range(len(graph))]])


def node2vec_step(seeds: int) -> list[Row]:
    """CPU milliseconds of a step of node2vec, 128 numbers, the same batch of walks on random graphs of 10,000 and of
    200,000 nodes with 10 edges each; the ratio, which a step that touches its batch alone keeps near 1; and thousands
    of pairs a CPU second, without the walks, beside gensim's word2vec on the walks of the same graph, where it is
    installed here or in the Python that $CRL_GENSIM names. The median of 24 steps; CPU seconds are for a step, with its
    walks."""
    found = {nodes: _node2vec_steps(nodes) for nodes in (10_000, 200_000)}
    (small, pairs, _), (large, _, _) = found[10_000], found[200_000]
    peer = _gensims_pairs(found[10_000][2])
    return [
        *(row(f"node2vec step {n:,} nodes", "milliseconds", 1e3 * t, cpu=t) for n, (t, _, _) in found.items()),
        row("node2vec step", "200,000 : 10,000 nodes", large / small),
        row("node2vec step", "1,000 pairs a second", pairs / 1e3, peer=None if peer is None else peer / 1e3),
    ]


def _node2vec_steps(nodes: int) -> tuple[float, float, Any]:
    """CPU seconds of a step, pairs a second without walking, and the graph."""
    from crl_graph.adjacency import Adjacency
    from crl_graph.network import Network
    from crl_graph.recipes import node2vec as recipes

    from crl_core import Training

    torch.manual_seed(0)
    edges = torch.stack([torch.arange(nodes).repeat(5), torch.randint(nodes, (5 * nodes,))])
    source = Network(Adjacency.of(edges, nodes), range(nodes))  # type: ignore[arg-type]
    recipe = recipes.node2vec(source)
    training = recipe.training
    assert isinstance(training, Training)
    items = source.items("train")
    order = torch.randperm(nodes).split(training.batch_size)
    pipeline = recipe.pipeline.build(items.__getitems__(order[0].tolist()), source).train()
    optimiser = training.optimiser([{"params": list(pipeline.parameters())}])
    whole, learning, pairs = [], [], []
    for rows in order[:30]:
        batch = items.__getitems__(rows.tolist())
        with Clock() as clock:
            losses = pipeline.loss(batch)
            losses.total.backward()
            optimiser.step()
            optimiser.zero_grad()
            pipeline.on_step()
        with Clock() as walking:
            pipeline.draw(batch)
        whole.append(clock.seconds)
        learning.append(clock.seconds - walking.seconds)
        pairs.append(float(len(losses.embeddings["centre"])))
    return _median(whole[6:]), mean(pairs[6:]) / _median(learning[6:]), source.adjacency


def _median(values: list[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).median())


_GENSIM = """
import json, sys, time
from gensim.models import Word2Vec
text = [line.split() for line in sys.stdin]
model = Word2Vec(vector_size=128, window=10, min_count=0, sg=1, negative=5, sample=0, workers=1)
model.build_vocab(text)
start = time.process_time()
model.train(text, total_examples=len(text), epochs=1)
print(json.dumps(time.process_time() - start))
"""


def _gensims_pairs(graph: Any) -> float | None:
    """Pairs a CPU second that gensim's word2vec trains on, the text being there already."""
    from crl_graph.samplers.walks import window_pairs
    from crl_graph.walk import walk

    python = os.environ.get("CRL_GENSIM") or (sys.executable if has("gensim") else None)
    if python is None:
        return None
    paths = walk(graph, torch.randint(len(graph), (2_000,)), 80, 1.0, 0.5)
    pairs = len(window_pairs(paths, 10)[0])
    text = "\n".join(" ".join(map(str, path)) for path in paths.tolist())
    done = subprocess.run([python, "-c", _GENSIM], input=text, capture_output=True, text=True, check=True)
    return pairs / float(json.loads(done.stdout.splitlines()[-1]))


def walks(seeds: int) -> list[Row]:
    """CPU seconds for 10 walks of 80 nodes from each of 10,000, on a graph of 50,000 edges whose degrees are those of
    preferential attachment."""
    import networkx
    from crl_graph.adjacency import Adjacency
    from crl_graph.walk import walk

    edges = torch.tensor(list(networkx.barabasi_albert_graph(10_000, 5, seed=0).edges)).T
    graph = Adjacency.of(edges, 10_000)
    rows = []
    for p, q in ((1.0, 1.0), (1.0, 0.5), (1.0, 2.0), (4.0, 0.25), (0.25, 4.0)):
        with Clock() as clock:
            walk(graph, torch.arange(10_000).repeat(10), 80, p, q)
        rows.append(row(f"walks p={p:g} q={q:g}", "CPU seconds", clock.seconds, cpu=clock.seconds))
    return rows


# -- representations of nodes and graphs ---------------------------------------------------------------------


def dgi_cora(seeds: int) -> list[Row]:
    """Accuracy on Cora's public split by the paper's protocol, 50 logistic regressions on frozen rows: the mean of 5
    seeds, 300 epochs each. The peer is PyG's DeepGraphInfomax as in its example, one seed, with the same epochs and
    protocol. CPU seconds are for an epoch."""
    from crl_graph.recipes import dgi as recipes

    with _pyg("Planetoid", "Cora", _cora()) as source:
        runs, seconds = _trained(recipes.dgi, source, 5)
        found = [_accuracy(pipeline, source) for pipeline in runs]
        with Clock() as clock:
            peer = _pygs_dgi(source, epochs=300)
    return [
        row("dgi cora", "accuracy", mean(found), peer=peer, published=0.823, cpu=seconds, peer_cpu=clock.seconds / 300),
        row("dgi cora", "deviation over seeds", float(torch.tensor(found).std()), published=0.006),
    ]


def mvgrl_cora(seeds: int) -> list[Row]:
    """By the same protocol. Others who ran MVGRL report 83.2 and 83.5 % (github.com/dmlc/dgl/issues/2739). CPU seconds
    are for an epoch."""
    from crl_graph.recipes import mvgrl as recipes

    with _pyg("Planetoid", "Cora", _cora()) as source:
        runs, seconds = _trained(recipes.mvgrl, source, seeds)
        found = [_accuracy(pipeline, source) for pipeline in runs]
    return [row("mvgrl cora", "accuracy", mean(found), published=0.868, cpu=seconds)]


def grace_cora(seeds: int) -> list[Row]:
    """By the protocol of GRACE's source, three draws of a tenth of all nodes for a regression on rows of length 1 whose
    C is cross-validated, and of the paper; and by the public split. The peer is GRACE written plainly on PyG's layers
    with the source's settings, one seed. CPU seconds are for an epoch."""
    from crl_graph.recipes import grace as recipes

    with _pyg("Planetoid", "Cora", _cora()) as source:
        runs, seconds = _trained(recipes.grace, source, seeds)
        graph, label = source.items("train").graph, _labels(source)
        rows = [pipeline.encode(_whole(source)) for pipeline in runs]
        found, public = mean([_tenths(z, label) for z in rows]), mean([_accuracy(each, source) for each in runs])
        with Clock() as clock:
            theirs = _plain_grace(graph, epochs=200)
        peer, per_epoch = _tenths(theirs, label), clock.seconds / 200
    return [
        row(
            "grace cora",
            "accuracy, a tenth labelled",
            found,
            peer=peer,
            published=0.833,
            cpu=seconds,
            peer_cpu=per_epoch,
        ),
        row("grace cora", "accuracy", public),
    ]


def _trained(recipe: Any, source: Any, seeds: int) -> tuple[list[Any], float]:
    """Pipelines by so many seeds, and the CPU seconds of an epoch."""
    from crl_core import fit

    runs, seconds = [], 0.0
    for seed in range(seeds):
        torch.manual_seed(seed)
        made = recipe(source)
        training = _seeded(made.training, seed)
        with Clock() as clock:
            runs.append(fit(made.pipeline, source, training, accelerator="cpu", show=False).pipeline)
        seconds += clock.seconds / training.epochs / seeds
    return runs, seconds


def _accuracy(pipeline: Any, source: Any) -> float:
    from crl_core import evaluate

    return evaluate(pipeline, source, untrained=pipeline).figures["accuracy"]["test"]["trained"]


def _whole(source: Any) -> Any:
    items = source.items("train")
    return items.__getitems__(list(range(len(items))))


def _labels(source: Any) -> Any:
    """Of all nodes, those that training doesn't see too."""
    return source.items("test").label


def _tenths(z: torch.Tensor, label: torch.Tensor) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, train_test_split
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import normalize

    found = []
    for seed in range(3):
        x, rest, y, truth = train_test_split(normalize(z.numpy()), label.numpy(), train_size=0.1, random_state=seed)
        probe = OneVsRestClassifier(LogisticRegression(solver="liblinear"))
        search = GridSearchCV(probe, {"estimator__C": [2.0**power for power in range(-10, 10)]}, cv=5)
        found.append(float(search.fit(x, y).score(rest, truth)))
    return mean(found)


def _plain_grace(graph: Any, epochs: int) -> torch.Tensor:
    from torch.nn.functional import cross_entropy, normalize
    from torch_geometric.nn import GCNConv
    from torch_geometric.utils import dropout_edge

    torch.manual_seed(0)
    x, edges = graph.x / graph.x.sum(1, keepdim=True).clamp(min=1), graph.edge_index
    first, second = GCNConv(x.shape[1], 256), GCNConv(256, 128)
    head = torch.nn.Sequential(torch.nn.Linear(128, 128), torch.nn.ELU(), torch.nn.Linear(128, 128))

    def encoded(x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = second(first(x, edges).relu(), edges).relu()
        return found

    weights = [weight for part in (first, second, head) for weight in part.parameters()]
    optimiser = torch.optim.Adam(weights, 5e-4, weight_decay=1e-5)
    twin = torch.arange(2 * len(x)).roll(len(x))
    for _ in range(epochs):
        views = [
            head(encoded(x * (torch.rand(x.shape[1]) >= features), dropout_edge(edges, lost)[0]))
            for lost, features in ((0.2, 0.3), (0.4, 0.4))
        ]
        z = normalize(torch.cat(views))
        loss = cross_entropy((z @ z.T / 0.4).fill_diagonal_(-torch.inf), twin)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return encoded(x, edges)


def _pygs_dgi(source: Any, epochs: int) -> float:
    from crl_graph.evaluators.node_classification import NodeClassification
    from torch_geometric.nn import DeepGraphInfomax, GCNConv

    from crl_core import Embeddings

    class Encoder(torch.nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.conv, self.slope = GCNConv(width, 512, cached=True), torch.nn.PReLU(512)

        def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.slope(self.conv(x, edges))
            return found

    torch.manual_seed(0)
    splits = {split: source.items(split) for split in source.splits}
    graph = splits["train"].graph
    x = graph.x / graph.x.sum(1, keepdim=True).clamp(min=1)
    model = DeepGraphInfomax(
        hidden_channels=512,
        encoder=Encoder(x.shape[1]),
        summary=lambda z, *_, **__: z.mean(0).sigmoid(),
        corruption=lambda x, edges: (x[torch.randperm(len(x))], edges),
    )
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(epochs):
        optimiser.zero_grad()
        loss = model.loss(*model(x, graph.edge_index))
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        z = model(x, graph.edge_index)[0]
    train, test = splits["train"], splits["test"]
    known = train.label >= 0
    return NodeClassification()(
        Embeddings(z[known], {"label": train.label[known]}),
        Embeddings(z[test.chosen], {"label": test.label[test.chosen]}),
        None,
    )["accuracy"]


def mutag(seeds: int) -> list[Row]:
    """Ten-fold accuracy on MUTAG's 188 molecules."""
    with _pyg("TUDataset", "MUTAG", _mutag()) as source:
        return _of_graphs("mutag", source, {"info-graph": 0.890, "mvgrl-graphs": 0.897, "graph-cl": 0.868}, seeds)


def bace(seeds: int) -> list[Row]:
    """Ten-fold accuracy on the 1,513 molecules of BACE: whether one stops the enzyme at 100 nanomoles; one seed."""
    return _of_graphs("bace", Molecules(), {"info-graph": None, "graph-cl": None}, 1)


def _of_graphs(name: str, source: Any, published: dict[str, float | None], seeds: int) -> list[Row]:
    """Beside the untrained encoder's accuracy, in rows of their own; CPU seconds are for an epoch. And the
    Weisfeiler-Lehman kernel's, in the same folds."""
    from crl_graph.evaluators.graph_classification import GraphClassification
    from crl_graph.evaluators.weisfeiler_lehman import WeisfeilerLehman
    from crl_graph.recipes import graph_cl, info_graph, mvgrl_graphs

    from crl_core import evaluate

    recipes = {
        "info-graph": info_graph.info_graph,
        "mvgrl-graphs": mvgrl_graphs.mvgrl_graphs,
        "graph-cl": graph_cl.graph_cl,
    }
    rows = []
    for method, theirs in published.items():
        runs, seconds = _trained(recipes[method], source, seeds)
        found = [evaluate(each, source, evaluators=[GraphClassification()]).figures["accuracy"] for each in runs]
        trained, untrained = (mean([each["folds"][of] for each in found]) for of in ("trained", "untrained"))
        rows.append(row(f"{method} {name}", "accuracy", trained, published=theirs, cpu=seconds))
        rows.append(row(f"{method} {name}", "accuracy, untrained", untrained))
    kernel = WeisfeilerLehman()(runs[0], source, "folds")["weisfeiler_lehman"]
    return [*rows, row(f"weisfeiler-lehman {name}", "accuracy", kernel)]


class Molecules:
    """Atoms and bonds of BACE's molecules, from a file of SMILES; read by rdkit."""

    splits = ("train", "folds")

    def __init__(self) -> None:
        import csv

        from crl_graph.items import Graphs
        from rdkit import Chem
        from torch.nn.functional import one_hot
        from torch_geometric.data import Data

        with _bace().open() as file:
            lines = list(csv.DictReader(file))
        molecules = [Chem.MolFromSmiles(line["smiles"]) for line in lines]
        elements = sorted({atom.GetSymbol() for molecule in molecules for atom in molecule.GetAtoms()})
        graphs = []
        for molecule in molecules:
            atoms = torch.tensor([elements.index(atom.GetSymbol()) for atom in molecule.GetAtoms()])
            bonds = torch.tensor([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in molecule.GetBonds()]).T
            graphs.append(Data(x=one_hot(atoms, len(elements)), edge_index=torch.cat([bonds, bonds.flip(0)], 1)))
        self.graphs = Graphs(graphs, torch.tensor([int(float(line["target"]) >= 7) for line in lines]))

    def items(self, split: str) -> Any:
        return self.graphs


def _bace() -> Path:
    found = next(folder_of("molecules").rglob("*BACE.csv"))
    if not has("rdkit"):
        raise FileNotFoundError("the molecules of BACE are read by rdkit: pip install rdkit")
    return found


@contextlib.contextmanager
def _pyg(dataset: str, name: str, raw: Path) -> Iterator[Any]:
    """PyG's data set from a folder of raw files, which it would else write beside."""
    import shutil

    from crl_graph.sources.pyg import PyG

    with tempfile.TemporaryDirectory() as copied:
        shutil.copytree(raw, Path(copied) / name / "raw")
        yield PyG(dataset, name, root=copied)


def _cora() -> Path:
    return folder_of("planetoid") / "Cora" / "raw"


def _mutag() -> Path:
    return next(folder_of("mutag").rglob("MUTAG_A.txt")).parent


def dgi_million(seeds: int) -> list[Row]:
    """DGI with 512 numbers for each of 50,000 nodes with a million edges, each in both directions: 3 epochs in a
    process of its own, its most memory in GB. CPU seconds are for an epoch."""
    code = "import graph, torch; torch.set_num_threads(1); graph.large_dgi()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    gigabytes, seconds = json.loads(done.stdout.splitlines()[-1])
    return [row("dgi a million edges", "memory in GB", gigabytes, cpu=seconds)]


def large_dgi() -> None:
    from crl_graph.items import Nodes, checked
    from crl_graph.recipes import dgi as recipes
    from torch_geometric.data import Data
    from torch_geometric.utils import to_undirected

    nodes = 50_000
    torch.manual_seed(0)
    edges = to_undirected(torch.randint(nodes, (2, 1_000_000)), num_nodes=nodes)
    graph = checked(Data(x=torch.rand(nodes, 32), edge_index=edges))
    batch = Nodes(graph, torch.arange(nodes), torch.full((nodes,), -1)).__getitems__(list(range(nodes)))
    pipeline = recipes.dgi().pipeline.build(batch).train()
    optimiser = torch.optim.Adam(pipeline.parameters(), 1e-3)
    start = time.process_time()
    for _ in range(3):
        optimiser.zero_grad()
        pipeline.loss(batch).total.backward()
        optimiser.step()
        pipeline.on_step()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    print(json.dumps([most, (time.process_time() - start) / 3]))


# -- worlds of objects ---------------------------------------------------------------------------------------


def c_swm(shape: Any) -> list[Row]:
    """Hits@1 among 10,000 test episodes on the paper's 2D shapes or its 3D cubes, 1,000 training episodes of 100 steps;
    a quarter of the paper's width and of its epochs, one seed. CPU seconds are for training."""
    from crl_graph.recipes import c_swm as recipes
    from crl_graph.sources.blocks import Blocks

    from crl_core import evaluate, fit

    source = Blocks(shape, episodes=1_000, steps=100, test_episodes=10_000)
    recipe = recipes.c_swm(source, epochs=26, batch_size=512)
    with Clock() as clock:
        pipeline = fit(recipe.pipeline, source, recipe.training, accelerator="cpu", show=False).pipeline
    figures = evaluate(pipeline, source, untrained=pipeline).figures
    published = {1: 1.0, 5: 1.0, 10: 0.999} if shape == "shapes" else {}
    return [
        row(
            f"c-swm {shape}",
            f"hits@1, {steps} steps",
            figures[f"hits@1, {steps} steps"]["test"]["trained"],
            published=published.get(steps),
            cpu=clock.seconds,
        )
        for steps in (1, 5, 10)
    ]


# -- all -----------------------------------------------------------------------------------------------------


def _trans_e(name: str, adversarial: bool) -> Group:
    return lambda seeds: trans_e(name, adversarial, seeds)


GROUPS: dict[str, Group] = {
    # knowledge graphs and walks
    **{
        f"trans-e-{name}{'-self-adversarial' if adversarial else ''}": _trans_e(name, adversarial)
        for name, forms in TRANS_E.items()
        for adversarial in forms
    },
    "trans-e-recipe": trans_e_recipe,
    "lre": lre,
    "million": million,
    "node2vec-karate": node2vec_karate,
    "node2vec-les-miserables": node2vec_les_miserables,
    "node2vec-step": node2vec_step,
    "walks": walks,
    # representations and worlds
    "dgi-cora": dgi_cora,
    "dgi-million": dgi_million,
    "mvgrl-cora": mvgrl_cora,
    "grace-cora": grace_cora,
    "mutag": mutag,
    "bace": bace,
    "c-swm": lambda seeds: c_swm("shapes"),
    "c-swm-cubes": lambda seeds: c_swm("cubes"),
}


def rows_of(names: list[str], seeds: int) -> Iterator[Row]:
    for name in names:
        try:
            # What libraries print must not stand among the rows.
            with contextlib.redirect_stdout(sys.stderr):
                found = GROUPS[name](seeds)
        except FileNotFoundError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        yield from found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", metavar="NAME", help=f"a group, or the beginning of some: {', '.join(GROUPS)}")
    parser.add_argument("--seeds", type=int, default=3, help="over which figures are the mean")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = [name for name in GROUPS if options.only is None or name.startswith(options.only)]
    if not names:
        parser.error(f"no group begins with {options.only!r}; there are {', '.join(GROUPS)}")
    show(rows_of(names, options.seeds), line, options.json)


def line(found: Row) -> str:
    keys = ("ours", "peer", "published", "cpu_seconds", "peer_cpu_seconds")
    cells = "".join(f"{'—' if found[key] is None else found[key]:>12}" for key in keys)
    return f"{found['name']:<36}{found['metric']:<28}{cells}"


if __name__ == "__main__":
    main()
