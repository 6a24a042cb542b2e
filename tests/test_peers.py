"""Values and gradients that other libraries compute for the same embeddings, where these are installed.

Where they mean something else by a name, the test says what: a scale, a sign, or what has no gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import crl_core as crl
from crl_core import Contrast, Embeddings, same

pytestmark = pytest.mark.peers

PAIRS, WIDTH = 24, 5
Function = Callable[[Tensor, Tensor], Tensor]


def agree(ours: Function, theirs: Function) -> None:
    """The same value and the same gradients, for embeddings of many sizes."""
    for scale in (0.1, 1.0, 10.0):
        found = []
        for function in (ours, theirs):
            torch.manual_seed(11)
            query, key = torch.randn(2, PAIRS, WIDTH, dtype=torch.float64)
            sides = [(scale * z).requires_grad_() for z in (query, query + key)]
            value = function(*sides).sum()
            found.append([value, *torch.autograd.grad(value, sides)])
        for mine, other in zip(*found, strict=True):
            torch.testing.assert_close(mine, other.to(mine.dtype), rtol=1e-6, atol=1e-9)


# -- lightly -------------------------------------------------------------------------------------------------


def test_lightlys_barlow_twins() -> None:
    """The same in all: standardised with 1e-5 beside the biased variance, C over the number of pairs."""
    lightly = pytest.importorskip("lightly.loss")
    for weight in (5e-3, 0.5):
        agree(crl.BarlowTwins(weight), lightly.BarlowTwinsLoss(lambda_param=weight))


def test_lightlys_vicreg() -> None:
    """The same in all: the scale of the authors' code, not of the paper."""
    lightly = pytest.importorskip("lightly.loss")
    agree(crl.VICReg(), lightly.VICRegLoss())
    agree(crl.VICReg(2.0, 3.0, 5.0), lightly.VICRegLoss(lambda_param=2.0, mu_param=3.0, nu_param=5.0))


def test_lightlys_w_mse() -> None:
    """The same where slices divide the batch, which theirs must; both deal the pairs by the same random numbers."""
    lightly = pytest.importorskip("lightly.loss.wmse_loss")
    loss = lightly.WMSELoss(
        embedding_dim=WIDTH, w_size=12, w_iter=3, num_samples=2, track_running_stats=False, eps=0.01
    )

    def seeded(function: Function) -> Function:
        def call(query: Tensor, key: Tensor) -> Tensor:
            torch.manual_seed(12)
            return function(query, key)

        return call

    agree(
        seeded(crl.Whitening(size=12, iterations=3, epsilon=0.01)),
        seeded(lambda query, key: loss(torch.cat([query, key]))),
    )


def test_lightlys_hypersphere_loss() -> None:
    """The same with t = 1, their default; ours is 2, as in the paper."""
    lightly = pytest.importorskip("lightly.loss.hypersphere_loss")
    agree(crl.AlignmentUniformity(t=1.0), lightly.HypersphereLoss())
    agree(crl.AlignmentUniformity(0.5, power=1.5, t=2.0), lightly.HypersphereLoss(t=2.0, lam=0.5, alpha=1.5))


def test_lightlys_negative_cosine() -> None:
    """Theirs is the mean of -cos; ours is 2 - 2 cos of every pair."""
    lightly = pytest.importorskip("lightly.loss")
    theirs = lightly.NegativeCosineSimilarity()
    agree(lambda q, k: crl.Regression()(q, k).mean(), lambda q, k: 2 + 2 * theirs(q, k))


def test_lightlys_swav() -> None:
    """Two large crops and two small ones. Theirs takes scores, and assigns one crop's rows at a time."""
    lightly = pytest.importorskip("lightly.loss")
    loss = crl.SwappedAssignment(7, WIDTH).double()
    loss.on_step(crl.Progress(0, 1, 0, 1))  # prototypes of length 1 in float64 too
    small = torch.randn(2 * PAIRS, WIDTH, dtype=torch.float64)
    columns = {"instance": torch.arange(PAIRS)}

    def ours(one: Tensor, other: Tensor) -> Tensor:
        table = {"one": Embeddings(one, columns), "other": Embeddings(other, columns)}
        table["small"] = Embeddings(small, {"instance": torch.arange(PAIRS).repeat(2)})
        sides = (("one", ("other", "small")), ("other", ("one", "small")))
        return torch.stack(
            [Contrast(query, key, loss=loss, negative=~same("instance"))(table).value for key, query in sides]
        ).mean()

    def theirs(one: Tensor, other: Tensor) -> Tensor:
        scores = [F.normalize(z, dim=1) @ loss.table.T for z in (one, other, *small.split(PAIRS))]
        value: Tensor = lightly.SwaVLoss()(scores[:2], scores[2:])
        return value

    agree(ours, theirs)


# -- pytorch-metric-learning -----------------------------------------------------------------------------------


def test_metric_learnings_vicreg() -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    agree(crl.VICReg(), lambda query, key: losses.VICRegLoss()(query, ref_emb=key))


def test_metric_learnings_cross_batch_memory() -> None:
    """Values alone: of theirs, the batch's own rows have no gradient as keys, since these come from the memory too."""
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    theirs = losses.CrossBatchMemory(losses.SupConLoss(temperature=0.2), embedding_size=WIDTH, memory_size=40)
    # Theirs holds this batch and the two before it, in 40 rows of 16, 16 and 8; ours the earlier rows alone.
    ours = Contrast(
        "z", "z", score=crl.Cosine(0.2), loss=crl.InfoNCE(), keys=crl.Queue(24),
        positive=same("label") & ~same("row"),
    ).train()  # fmt: skip
    for _ in range(6):
        z, label = torch.randn(16, WIDTH, dtype=torch.float64), torch.randint(0, 4, (16,))
        table = Embeddings(z, {"label": label, "row": torch.arange(16), "instance": torch.arange(16)})
        torch.testing.assert_close(ours({"z": table}).value, theirs(z, label), rtol=1e-6, atol=0)
        ours.settle()


# -- losses on scores ------------------------------------------------------------------------------------------


def contrasted(
    loss: crl.InfoNCE, score: object = None, symmetric: bool = False, positive: str = "instance"
) -> Function:
    """Queries against keys, from different tables, or with labels all of them against all."""

    def run(query: Tensor, key: Tensor) -> Tensor:
        if positive == "label":
            z = torch.cat([query, key])
            rows = Embeddings(z, {"label": labels(z), "row": torch.arange(len(z))})
            contrast = Contrast("z", "z", loss=loss, score=score, positive=same("label") & ~same("row"))
            return contrast({"z": rows}).value
        tables = {
            name: Embeddings(z, {"instance": torch.arange(PAIRS)}) for name, z in zip("qk", (query, key), strict=True)
        }
        for i, (name, table) in enumerate(tables.items()):
            tables[name] = Embeddings(table.z, {**table.meta, "row": torch.arange(PAIRS) + PAIRS * i})
        return Contrast("q", "k", loss=loss, score=score, positive=same("instance"), symmetric=symmetric)(tables).value

    return run


def labels(z: Tensor) -> Tensor:
    return torch.arange(len(z)) % 7


def nt_xent(query: Tensor, key: Tensor) -> Tensor:
    z = torch.cat([query, key])
    rows = Embeddings(z, {"instance": torch.arange(len(z)) % PAIRS, "row": torch.arange(len(z))})
    positive = same("instance") & ~same("row")
    return Contrast("z", "z", loss=crl.InfoNCE(), score=crl.Cosine(0.2), positive=positive)({"z": rows}).value


def unit(score: object, loss: object) -> Function:
    """By label, on directions alone, which is what pytorch-metric-learning's distances look at."""
    by_label = contrasted(loss, score, positive="label")  # type: ignore[arg-type]
    return lambda query, key: by_label(F.normalize(query, dim=1), F.normalize(key, dim=1))


def test_lightlys_nt_xent_is_ours() -> None:
    lightly = pytest.importorskip("lightly.loss")
    agree(nt_xent, lightly.NTXentLoss(temperature=0.2))


def test_lightlys_dcl_has_negatives_of_both_views() -> None:
    """Ours has them as well, where the keys are the queries."""
    lightly = pytest.importorskip("lightly.loss")

    def ours(query: Tensor, key: Tensor) -> Tensor:
        z = torch.cat([query, key])
        rows = Embeddings(z, {"instance": torch.arange(len(z)) % PAIRS, "row": torch.arange(len(z))})
        positive = same("instance") & ~same("row")
        return Contrast("z", "z", loss=crl.Decoupled(), score=crl.Cosine(0.2), positive=positive)({"z": rows}).value

    agree(ours, lightly.DCLLoss(temperature=0.2))


def test_open_clips_losses() -> None:
    losses = pytest.importorskip("open_clip.loss")
    scale = torch.tensor(5.0, dtype=torch.float64)

    def clip(query: Tensor, key: Tensor) -> Tensor:
        return losses.ClipLoss()(F.normalize(query, dim=1), F.normalize(key, dim=1), scale)

    def siglip(query: Tensor, key: Tensor) -> Tensor:
        return losses.SigLipLoss()(F.normalize(query, dim=1), F.normalize(key, dim=1), scale, torch.tensor(-3.0))

    agree(contrasted(crl.InfoNCE(), crl.Cosine(0.2), symmetric=True), clip)
    agree(contrasted(crl.Sigmoid(), crl.Cosine(0.2, bias=-3.0)), siglip)  # type: ignore[arg-type]


def ranked(keys: str | tuple[str, ...], symmetric: bool = False) -> Function:
    """Questions against answers and, if they are keys, against wrong answers, whose `pair` is unknown."""
    wrong = torch.randn(PAIRS, WIDTH, generator=torch.Generator().manual_seed(12), dtype=torch.float64)
    pair = torch.arange(PAIRS)

    def run(query: Tensor, key: Tensor) -> Tensor:
        sides = {"query": (query, pair), "key": (key, pair), "wrong": (wrong, torch.full_like(pair, -1))}
        tables = {
            name: Embeddings(z, {"pair": known, "row": PAIRS * i + pair})
            for i, (name, (z, known)) in enumerate(sides.items())
        }
        positive = same("pair") & ~same("row")
        score, loss = crl.Cosine(0.05), crl.InfoNCE()
        return Contrast("query", keys, loss=loss, score=score, positive=positive, symmetric=symmetric)(tables).value

    return run


TURNED = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}


@pytest.mark.parametrize(
    ("ours", "columns", "options"),
    [
        (ranked("key"), 2, {}),
        (ranked("key", symmetric=True), 2, TURNED),
        (ranked(("key", "query")), 2, {"directions": ("query_to_doc", "query_to_query")}),
        (ranked(("key", "wrong")), 3, {}),
    ],
    ids=["pairs", "symmetric", "queries-as-keys", "hard-negatives"],
)
def test_sentence_transformers_multiple_negatives_ranking(
    ours: Function, columns: int, options: dict[str, object]
) -> None:
    """Scores are divided by 0.05, their scale of 20."""
    losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
    theirs = losses.MultipleNegativesRankingLoss(None, **options)
    wrong = torch.randn(PAIRS, WIDTH, generator=torch.Generator().manual_seed(12), dtype=torch.float64)
    agree(ours, lambda query, key: theirs.compute_loss_from_embeddings([query, key, wrong][:columns], None))


@pytest.mark.parametrize("within", [False, True])
def test_pygcls_dual_branch_contrast(within: bool) -> None:
    """In both directions; with `intraview_negs` each node is also a negative of itself."""
    models, losses = pytest.importorskip("GCL.models"), pytest.importorskip("GCL.losses")
    theirs = models.DualBranchContrast(losses.InfoNCE(tau=0.2), mode="L2L", intraview_negs=within)

    def ours(query: Tensor, key: Tensor) -> Tensor:
        rows = Embeddings(
            torch.cat([query, key]), {"node": torch.arange(2 * PAIRS) % PAIRS, "row": torch.arange(2 * PAIRS)}
        )
        positive, negative = same("node") & ~same("row"), ~same("node") | same("row")
        options = {"score": crl.Cosine(0.2), "loss": crl.InfoNCE(), "positive": positive, "negative": negative}
        return Contrast("z", "z", **options)({"z": rows}).value

    agree(ours if within else contrasted(crl.InfoNCE(), crl.Cosine(0.2), symmetric=True), theirs)


@pytest.mark.parametrize(
    ("ours", "name", "options"),
    [
        (unit(crl.Cosine(0.2), crl.InfoNCE()), "SupConLoss", {"temperature": 0.2}),
        (unit(crl.Cosine(0.2), crl.InfoNCE("each")), "NTXentLoss", {"temperature": 0.2}),
        (unit(crl.L2(), crl.Triplet(0.2)), "TripletMarginLoss", {"margin": 0.2}),
        (unit(crl.L2(), crl.Lifted(1.0)), "GeneralizedLiftedStructureLoss", {"neg_margin": 1.0, "pos_margin": 0.0}),
        (unit(crl.L2(), crl.LiftedStructure(1.0)), "LiftedStructureLoss", {"neg_margin": 1.0, "pos_margin": 0.0}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pytorch_metric_learnings_losses(ours: Function, name: str, options: dict[str, float]) -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    theirs = getattr(losses, name)(**options)

    def run(query: Tensor, key: Tensor) -> Tensor:
        z = torch.cat([query, key])
        return theirs(z, labels(z))

    agree(ours, run)
