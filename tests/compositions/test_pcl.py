"""Prototypical contrastive learning (Li et al. 2021, PCL): MoCo, and prototypes that are clustered anew each epoch."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from compositions.parts_heads import Unit
from compositions.parts_promises import has_a_spec, keeps_its_state
from compositions.parts_scenes import Looks, Perceptron, Scenes
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

import crl_core as crl
from crl_core import Embeddings, Progress, Prototypes, same
from crl_core.contracts.parts import Embed
from crl_core.parts.keys.prototypes import concentration

CLUSTERINGS = (8, 16, 32)
TEMPERATURE = 0.2
WARMUP = 3


def pcl() -> crl.Pipeline:
    """The instances' term, and the mean of the prototypes' terms, one for each clustering."""
    instances = crl.Contrast(
        "query", "key", score=crl.Dot(TEMPERATURE), loss=crl.InfoNCE(), keys=crl.Queue(512), name="instances",
        positive=same("instance") & same("batch"), negative=~same("instance") & ~same("batch"),
    )  # fmt: skip
    prototypes = [
        crl.Contrast(
            "query", None, score=crl.Dot(), loss=crl.InfoNCE(), positive=same("cluster"), name=f"prototypes-{count}",
            keys=sampled(Prototypes(count, "key", TEMPERATURE, WARMUP)), weight=1 / len(CLUSTERINGS),
        )
        for count in CLUSTERINGS
    ]  # fmt: skip
    return crl.Pipeline(
        Looks,
        branches={
            "query": crl.Branch("one", encoder=Perceptron(), head=Unit(crl.MLP(32, hidden=64, norm=False))),
            "key": crl.Branch("other", tracks="query", update=crl.Momentum(0.97)),
        },
        contrasts=[instances, *prototypes],
    )


def sampled(prototypes: Prototypes) -> crl.Drawn | Prototypes:
    """Negative prototypes are sampled where there are many."""
    return crl.Drawn(20, of=prototypes) if prototypes.clusters > 20 else prototypes


def training(epochs: int) -> crl.Training:
    return crl.Training(epochs=epochs, batch_size=128, optimiser=crl.AdamW(3e-3), schedule=crl.CosineDecay(warmup=1))


def fitted(pipeline: crl.Pipeline, source: Scenes, epochs: int) -> crl.Pipeline:
    return crl.fit(pipeline, source, training(epochs), accelerator="cpu", show=False).pipeline


def some(source: Scenes, count: int = 64) -> crl.View:
    return source.items("train").__getitems__(list(range(count)))


def classes_shown(pipeline: crl.Pipeline, source: Scenes) -> float:
    """Normalised mutual information of the test items' classes with clusters of their representations."""
    items = source.items("test")
    batch = items.__getitems__(list(range(len(items))))
    clusters = KMeans(source.classes, n_init=3, random_state=0).fit_predict(F.normalize(pipeline.encode(batch), dim=1))
    return float(normalized_mutual_info_score(batch.meta["label"], clusters))


def test_clusters_show_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chance .02, untrained .18 to .26, trained .68 to .87 over 5 seeds."""
    clusterings: dict[int, list[tuple[int, Tensor]]] = {}
    original = Prototypes.on_epoch

    def noted(self: Prototypes, progress: Progress, embed: Embed) -> None:
        original(self, progress, embed)
        clusterings.setdefault(self.clusters, []).append((progress.epoch, self.stored.get("centroids", torch.empty(0))))

    monkeypatch.setattr(Prototypes, "on_epoch", noted)
    source, pipeline = Scenes(), pcl()
    label = source.items("train").columns["label"]
    untrained = classes_shown(pipeline, source)
    fitted(pipeline, source, epochs=20)
    trained = classes_shown(pipeline, source)
    chance = normalized_mutual_info_score(label, label[torch.randperm(len(label))])
    assert chance < 0.05
    assert untrained < 0.3
    assert trained > 0.6, (chance, untrained, trained)
    for contrast, count in zip(pipeline.contrasts[1:], CLUSTERINGS, strict=True):
        assert normalized_mutual_info_score(label, contrast.memories[0].cluster_of) > 0.5
        epochs, centroids = zip(*clusterings[count], strict=True)
        assert epochs == tuple(range(20))
        assert [len(c) for c in centroids] == [0] * WARMUP + [count] * (20 - WARMUP)
        later = centroids[WARMUP:]
        assert not any(torch.equal(a, b) for a, b in pairwise(later)), "clustered anew each epoch"


def test_prototypes_gather_their_clusters() -> None:
    """After a warm-up, the prototypes' terms alone move items to their own prototypes: by .04 to .07 over 3 seeds.

    Fresh nuisance alone moves the figure by .01.
    """
    source, pipeline = Scenes(), pcl()
    fitted(pipeline, source, epochs=WARMUP + 1).train()
    memory = pipeline.contrasts[2].memories[0]
    pipeline.contrasts[0].weight = 0.0
    batch = some(source, 1024)
    own = F.one_hot(memory.cluster_of[batch.meta["instance"]], memory.clusters).bool()
    optimiser = torch.optim.AdamW([p for p in pipeline.parameters() if p.requires_grad], 3e-3)
    nearness = []
    for _ in range(30):
        losses = pipeline.loss(batch)
        cosine = losses.embeddings["query"].z.detach() @ memory.centroids.T
        nearness.append(float(cosine[own].mean() - cosine.mean()))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        pipeline.on_step()
    assert sum(nearness[-5:]) / 5 > nearness[0] + 0.03, nearness
    assert not memory.centroids.requires_grad
    assert not any(".keys." in name for name, _ in pipeline.named_parameters()), "prototypes are means, not parameters"


# -- the formulas ------------------------------------------------------------------------------------------


def clustered(count: int = 40, clusters: int = 5) -> tuple[Embeddings, Prototypes]:
    table = Embeddings(F.normalize(torch.randn(count, 6).double(), dim=1), {"instance": torch.arange(count)})
    prototypes = Prototypes(clusters, "key", 0.2, warmup=0)
    prototypes.on_epoch(Progress(0, 1, 0, 1), {"key": table}.__getitem__)
    return table, prototypes


def alone(prototypes: Prototypes) -> crl.Contrast:
    cluster = same("cluster")
    return crl.Contrast("query", None, loss=crl.InfoNCE(), positive=cluster, negative=~cluster, keys=prototypes)


def test_centroids_are_means_and_concentrations_the_papers() -> None:
    table, prototypes = clustered()
    raw = []
    for k in range(5):
        members = table.z[prototypes.cluster_of == k]
        torch.testing.assert_close(prototypes.centroids[k], F.normalize(members.mean(0), dim=0), rtol=0, atol=1e-6)
        raw.append((members - members.mean(0)).norm(dim=1).sum() / (len(members) * math.log(len(members) + 10)))
    phi = torch.stack(raw)
    phi = phi.clamp(phi.quantile(0.1), phi.quantile(0.9))
    torch.testing.assert_close(prototypes.concentrations, 0.2 * phi / phi.mean(), rtol=0, atol=1e-6)


def test_a_cluster_of_one_item_is_not_the_most_concentrated() -> None:
    z = torch.tensor([[0.0, 0.0], [0.0, 0.1], [5.0, 5.0], [5.0, 6.0], [9.0, 9.0]], dtype=torch.float64)
    cluster = torch.tensor([0, 0, 1, 1, 2])
    centres = torch.stack([z[cluster == k].mean(0) for k in range(3)])
    phi = concentration(z, centres, cluster, 0.1)
    assert phi[2] == phi[1] > phi[0]
    assert float(phi.mean()) == pytest.approx(0.1)


def test_the_term_is_proto_nce() -> None:
    _, prototypes = clustered()
    contrast = alone(prototypes)
    query = Embeddings(F.normalize(torch.randn(12, 6).double(), dim=1).requires_grad_(), {"instance": torch.arange(12)})
    logits = query.z @ (prototypes.centroids / prototypes.concentrations[:, None]).T
    torch.testing.assert_close(contrast({"query": query}).value, F.cross_entropy(logits, prototypes.cluster_of[:12]))


def test_every_item_its_own_prototype_is_info_nce() -> None:
    table, prototypes = clustered(30, clusters=30)
    contrast = alone(prototypes)
    instances = crl.Contrast("query", "key", score=crl.Dot(0.2), loss=crl.InfoNCE(), negative=~same("instance"))
    query = Embeddings(F.normalize(torch.randn(30, 6).double(), dim=1), table.meta)
    # Clusters of one item all have the same concentration, which is then the temperature.
    torch.testing.assert_close(contrast({"query": query}).value, instances({"query": query, "key": table}).value)


# -- what every composition promises -----------------------------------------------------------------------


def test_the_promises_after_the_warm_up() -> None:
    source = Scenes(count=256)
    pipeline = fitted(pcl(), source, epochs=WARMUP + 1).train()
    batch = some(source)
    keeps_its_state(pipeline, has_a_spec(pipeline), batch)
    figures = pipeline.diagnose(batch).figures
    assert figures["prototypes-8/remembered keys"] == 8
    assert figures["prototypes-32/negatives per query"] == 20
    instances, *prototypes = pipeline.explain(batch, 3).cases
    assert instances.query["instance"] == 3
    assert {columns["instance"] for _, columns in instances.positive.nearest} == {3}
    assert all(columns["instance"] != 3 for _, columns in instances.negative.nearest)
    for case, contrast, negatives in zip(prototypes, pipeline.contrasts[1:], (7, 15, 20), strict=True):
        mine = int(contrast.memories[0].cluster_of[3])
        assert case.query["cluster"] == mine
        assert [columns["cluster"] for _, columns in case.positive.nearest] == [mine]
        assert case.negative.count == negatives
        assert all(columns["cluster"] != mine for _, columns in case.negative.nearest)


def test_during_the_warm_up_the_prototypes_terms_are_nothing() -> None:
    source = Scenes(count=256)
    pipeline = fitted(pcl(), source, epochs=WARMUP - 1).train()
    batch = some(source)
    losses = pipeline.loss(batch)
    torch.testing.assert_close(losses.total.detach(), losses.terms["instances"])
    assert int(losses.ignored["prototypes-8"]) == len(batch)
    pipeline.abandon()  # the loss above was looked at, and is no step
    keeps_its_state(pipeline, has_a_spec(pipeline), batch)
    assert any(re.search(r"^prototypes-8\b.*\bkeys\b", text) for text in pipeline.diagnose(batch).warnings)
