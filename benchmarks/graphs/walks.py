"""Walks, and node2vec beside gensim."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import torch

import crl_core as crl

from .measure import Clock, Row, has, mean, mean_figures, row, seeded, whole


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
    from crl_graph.sources.networkx import NetworkX

    torch.manual_seed(seed)
    source = NetworkX(name)
    recipe = crl.recipe("node2vec", source=source, preset="karate", p=p, q=q)
    pipeline = crl.fit(recipe.pipeline, source, seeded(recipe.training, seed), show=False).pipeline
    return pipeline.encode(whole(source)), source


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

    torch.manual_seed(0)
    edges = torch.stack([torch.arange(nodes).repeat(5), torch.randint(nodes, (5 * nodes,))])
    source = Network(Adjacency.of(edges, nodes), range(nodes))  # type: ignore[arg-type]
    recipe = crl.recipe("node2vec", source=source, preset="communities")
    training = recipe.training
    assert isinstance(training, crl.Training)
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
