"""SwAV, DIM, AMDIM, CPC and PIRL: what each is made of, its formula, its known mistakes, and whether it learns."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import torch
import torch.nn.functional as F
from crl_vision.encoders.conv_net import ConvNet
from crl_vision.encoders.multi_scale import MultiScale
from crl_vision.encoders.patchwise import Patchwise
from crl_vision.heads.below import Below
from crl_vision.losses.clipped_nce import ClippedNCE
from crl_vision.sources.digits import Digits
from torch import Tensor, nn

import crl_core as crl
from crl_core import (
    Contrast,
    CrlError,
    Embeddings,
    Pipeline,
    Progress,
    Recipe,
    Scores,
    View,
    get,
    parse_settings,
    prepare,
    same,
    sinkhorn,
    spread,
)


def recipe(name: str, *settings: str) -> Recipe:
    return prepare(get("recipe", name), parse_settings(settings))


def digits(count: int = 8) -> View:
    return Digits().items("train").__getitems__(list(range(count)))


def drawn(name: str, *settings: str, count: int = 8) -> tuple[Pipeline, dict[str, View]]:
    pipeline = recipe(name, *settings).pipeline.build(digits(count), Digits()).train()
    return pipeline, dict(pipeline.sampler(digits(count)))


def masks(pipeline: Pipeline, contrast: int, table: dict[str, Embeddings]) -> tuple[Tensor, Tensor]:
    pairs = pipeline.contrasts[contrast].pairs(table)
    assert pairs is not None
    return pairs.masks()


# -- SwAV --------------------------------------------------------------------------------------------------


def swav_term(pipeline: Pipeline, table: dict[str, Embeddings], assign: Callable[[Tensor], Tensor]) -> Tensor:
    """The authors' loop over crops, with any way to assign the scores of the large crops."""
    loss = pipeline.contrasts[0].loss
    count = len(table["large"]) // 2
    crops = [F.normalize(z, dim=1) for name in ("large", "small") for z in table[name].z.split(count)]
    prototypes = F.normalize(loss.table.detach(), dim=1)
    targets = assign(torch.cat(crops[:2]).detach() @ prototypes.T).split(count)
    terms = [
        -(target * F.log_softmax(crop @ loss.table.T / 0.1, dim=1)).sum(1).mean()
        for i, target in enumerate(targets)
        for j, crop in enumerate(crops)
        if i != j
    ]
    return torch.stack(terms).mean()


def equal_shares(scores: Tensor, epsilon: float = 0.025, axis: int = 0) -> Tensor:
    """Sinkhorn as in the paper, prototypes first; over the other axis where `axis` is 1."""
    shares = ((scores - 1) / epsilon).double().exp()
    for _ in range(3):
        shares = shares / shares.sum(axis, keepdim=True)
        shares = shares / shares.sum(1 - axis, keepdim=True)
    return shares.float()


def test_swavs_term_is_the_authors_loop_and_no_wrong_one() -> None:
    pipeline, views = drawn("swav", count=24)
    losses = pipeline.embed(views)
    right = pipeline.contrasts[0](losses).value
    torch.testing.assert_close(right, swav_term(pipeline, losses, equal_shares), rtol=1e-4, atol=1e-5)
    wrong: dict[str, Callable[[Tensor], Tensor]] = {
        "over the wrong axis": lambda scores: equal_shares(scores, axis=1),
        "without equal shares": lambda scores: (scores / 0.025).softmax(1),
        "one crop after the other, not the joined batch": lambda scores: torch.cat(
            [equal_shares(part) for part in scores.chunk(2)]
        ),
        "prototypes three times as long": lambda scores: equal_shares(3 * scores - 2),
    }
    for name, assign in wrong.items():
        assert (swav_term(pipeline, losses, assign) - right).abs() > 1e-3, name


def test_prototypes_that_are_not_normalised_are_noticed() -> None:
    """A step leaves them longer or shorter; what follows it sets them back."""
    pipeline, views = drawn("swav", count=16)
    loss = pipeline.contrasts[0].loss
    before = pipeline.contrasts[0](pipeline.embed(views)).value
    with torch.no_grad():
        loss.table *= 3
    grown = pipeline.contrasts[0](pipeline.embed(views)).value
    assert (grown - before).abs() > 0.1, "the loss would be another"
    pipeline.on_step(Progress(1, 10, 0, 1))
    torch.testing.assert_close(pipeline.contrasts[0](pipeline.embed(views)).value, before)


def test_small_crops_are_never_assigned_and_prototypes_wait_for_the_first_epoch() -> None:
    pipeline, views = drawn("swav", count=10)
    table = pipeline.embed(views)
    positive, _ = masks(pipeline, 0, table)
    assert positive.shape == (40, 20), "queries are all crops, keys the large ones"
    assert positive.sum(1).tolist() == [1] * 20 + [2] * 20, "a large crop has the other, a small one both"
    loss = pipeline.contrasts[0].loss
    for epoch, moves in ((0, False), (1, True)):
        pipeline.on_epoch(Progress(0, 10, epoch, 2), embed=lambda branch: pytest.fail("asks for nothing"))
        loss.table.grad = None
        pipeline.contrasts[0](pipeline.embed(views)).value.backward()
        assert bool(loss.table.grad.any()) == moves


def test_swavs_crops_and_prototypes_are_the_papers() -> None:
    class Million:
        splits = ("train",)

        def items(self, split: str) -> crl.InMemory:
            return crl.InMemory(torch.zeros(1, 3, 128, 128, dtype=torch.uint8).expand(1_000_000, -1, -1, -1), {})

    made = crl.recipe("swav", preset="paper", source=Million(), size=224)
    sampler, loss = made.pipeline.sampler, made.pipeline.contrasts[0].loss
    assert (sampler.large, sampler.small, sampler.large_area, sampler.small_area) == (2, 6, (0.14, 1.0), (0.05, 0.14))
    assert (loss.prototypes, loss.width, loss.temperature, loss.epsilon) == (3000, 128, 0.1, 0.05)
    assert (loss.iterations, loss.frozen, loss.queue_from) == (3, 1, 15)


def test_earlier_features_share_the_prototypes_late_and_when_the_queue_is_full() -> None:
    loss = crl.SwappedAssignment(5, 4, epsilon=0.05, queue=6, queue_from=2).train()
    batches = [F.normalize(torch.randn(3, 4), dim=1) for _ in range(6)]

    def step(keys: Tensor, epoch: int) -> Tensor:
        loss.on_epoch(Progress(0, 1, epoch, 9), lambda branch: pytest.fail("asks for nothing"))
        twice = loss.assign(keys.repeat(2, 1))  # a key that two crops predict
        assert torch.equal(*twice.chunk(2))
        loss.on_step(Progress(0, 1, epoch, 9))
        return twice[:3]

    def alone(keys: Tensor, earlier: tuple[Tensor, ...] = ()) -> Tensor:
        return sinkhorn(torch.cat([keys, *earlier]) @ loss.table.detach().T, 0.05, 3)[:3]

    assert loss.earlier is not None
    torch.testing.assert_close(step(batches[0], 1), alone(batches[0]))
    assert loss.earlier.keys() is None, "nothing is kept before its time"
    torch.testing.assert_close(step(batches[1], 2), alone(batches[1]))
    torch.testing.assert_close(step(batches[2], 2), alone(batches[2])), "half full"
    torch.testing.assert_close(step(batches[3], 3), alone(batches[3], (batches[1], batches[2])))
    torch.testing.assert_close(step(batches[4], 3), alone(batches[4], (batches[2], batches[3]))), "the oldest leave"
    again = crl.SwappedAssignment(5, 4, epsilon=0.05, queue=6, queue_from=2)
    again.load_state_dict(loss.state_dict())
    torch.testing.assert_close(again.assign(batches[5]), loss.assign(batches[5]))


# -- DIM ---------------------------------------------------------------------------------------------------


def test_dims_queries_are_vectors_and_its_negatives_the_places_of_other_images() -> None:
    pipeline, views = drawn("dim", "global_weight=0.5", count=5)
    table = pipeline.embed(views)
    positive, negative = masks(pipeline, 0, table)
    assert positive.shape == (5, 5 * 49)
    assert torch.equal(positive, torch.eye(5, dtype=torch.bool).repeat_interleave(49, 1))
    assert torch.equal(negative, ~positive)
    assert masks(pipeline, 1, table)[0].shape == (5, 5)
    assert [contrast.weight for contrast in pipeline.contrasts] == [1.0, 0.5]


def test_dims_term_is_the_papers_estimate() -> None:
    pipeline, views = drawn("dim", count=6)
    pipeline.double()
    views = {name: View(view.data.double(), view.meta) for name, view in views.items()}
    table = pipeline.embed(views)
    scores = torch.einsum("nd,mld->nml", table["vector"].z, table["places"].z)
    own = torch.eye(6, dtype=torch.bool)
    expected = F.softplus(-scores[own]).mean() + F.softplus(scores[~own]).mean()
    torch.testing.assert_close(pipeline.contrasts[0](table).value, expected)


def moved_by_a_pixel(encoder: nn.Module, feature: str) -> Tensor:
    """How many pixels of an image move the middle place of a map, or the vector."""
    size = 16
    image = torch.rand(1, 1, size, size, requires_grad=True)
    found = encoder(image)[feature]
    middle = found[0, found.shape[1] // 2] if found.dim() == 3 else found[0]
    (gradient,) = torch.autograd.grad(middle.square().sum(), image)
    return (gradient != 0).sum()


def test_a_local_map_is_taken_before_the_global_vector() -> None:
    """A place sees a small part of the image; a map that is made of the vector, the known mistake, sees all of it."""
    encoder = MultiScale(16, 8, 32, channels=1).eval()

    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.spread = encoder, nn.Linear(32, 49 * 16)

        def forward(self, images: Tensor) -> dict[str, Tensor]:
            vector = self.inner(images)["one"]
            return {"seven": self.spread(vector).view(-1, 49, 16), "one": vector}

    assert moved_by_a_pixel(encoder, "seven") <= 16
    assert moved_by_a_pixel(encoder, "five") <= 64
    assert moved_by_a_pixel(encoder, "one") > 200
    assert moved_by_a_pixel(Backwards(), "seven") > 200


# -- AMDIM -------------------------------------------------------------------------------------------------


def clipped_nce(scores: Tensor, positive: Tensor, clip: float, penalty: float) -> Tensor:
    """As the authors' code has it, one positive after the other."""
    kept = clip * torch.tanh(scores / clip)
    terms = [
        torch.logsumexp(torch.cat([kept[i, ~positive[i]], kept[i, j].view(1)]), 0) - kept[i, j]
        for i, j in positive.nonzero().tolist()
    ]
    return torch.stack(terms).mean() + penalty * scores.square().mean()


@pytest.mark.parametrize(("clip", "penalty"), [(10.0, 0.05), (3.0, 0.0), (20.0, 1.0)])
@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_clipped_nce_is_the_authors_formula(clip: float, penalty: float, scale: float) -> None:
    scores = (scale * torch.randn(6, 20, dtype=torch.float64)).requires_grad_()
    positive = torch.arange(20) // 3 == torch.arange(6).unsqueeze(1)
    found = ClippedNCE(clip, penalty)(Scores.of(scores, positive))
    value, expected = found.value.sum() / found.terms.sum(), clipped_nce(scores, positive, clip, penalty)
    torch.testing.assert_close(value, expected)
    ours, theirs = (torch.autograd.grad(x, scores)[0] for x in (value, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("clip", [0.0, -1.0, 41.0])
def test_clips_of_nonsense_are_refused(clip: float) -> None:
    with pytest.raises(ValueError, match="clip is above 0 up to 40"):
        ClippedNCE(clip)


def test_amdim_looks_across_scales_and_views() -> None:
    pipeline, views = drawn("amdim", count=4)
    table = pipeline.embed(views)
    for place, many in enumerate((25, 49, 25)):
        positive, negative = masks(pipeline, place, table)
        assert positive.shape == (8, 8 * many)
        view, instance = torch.arange(8) // 4, torch.arange(8) % 4
        same, across = instance[:, None] == instance, view[:, None] != view
        assert torch.equal(positive, (same & across).repeat_interleave(many, 1)), "all places of the other view"
        assert torch.equal(negative, (~same & across).repeat_interleave(many, 1)), "none of its own view"
    five, place = (pipeline.branches[name].head for name in ("five", "place"))
    assert place.head is five, "one map of the features for queries and keys"


def test_amdims_terms_are_the_formula_on_scaled_dot_products() -> None:
    pipeline, views = drawn("amdim", count=4)
    table = pipeline.embed(views)
    positive, negative = masks(pipeline, 0, table)
    scores = table["one"].z @ table["five"].z.flatten(0, 1).T / 128**0.5
    rows = [
        clipped_nce(s[p | n].unsqueeze(0), p[p | n].unsqueeze(0), 10.0, 0.05)
        for s, p, n in zip(scores, positive, negative, strict=True)
    ]
    torch.testing.assert_close(pipeline.contrasts[0](table).value, torch.stack(rows).mean())


# -- CPC ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "directions", "first"), [("cpc", 1, 2), ("cpc-v2", 4, 3)])
def test_every_prediction_has_one_patch_so_many_rows_ahead_and_all_others_against_it(
    name: str, directions: int, first: int
) -> None:
    pipeline, views = drawn(name, count=3)
    table = pipeline.embed(views)
    context = table["context"]
    count = directions * 7 * sum(7 - rows for rows in range(first, 6))
    assert context.z.shape[:2] == (3, count)
    positive, negative = masks(pipeline, 0, table)
    assert positive.shape == (3 * count, 3 * 49)
    assert (positive.sum(1) == 1).all()
    assert torch.equal(negative, ~positive), "of the same image and of others"
    target = positive.nonzero()[:, 1]
    assert torch.equal(target, (context.meta["instance"][:, None] * 49 + context.meta["position"]).flatten())


def test_cpcs_term_is_the_pseudo_code_of_the_paper() -> None:
    """Hénaff et al. 2020, appendix A, for one direction: every row of a step against all patches of the batch."""
    head = Below(8, first=3, last=4, hidden=6, layers=2).double()
    patches = torch.randn(3, 49, 10, dtype=torch.float64)
    targets = torch.randn(3, 49, 8, dtype=torch.float64)
    found = head(patches)
    meta = {"instance": torch.arange(3)}
    table = {"q": Embeddings(found.z, {**meta, **found.meta}), "k": Embeddings(targets, meta)}
    contrast = Contrast(
        "q", "k", score=crl.Dot(10.0), loss=crl.InfoNCE(), positive=same("instance") & same("position"),
        negative=~(same("instance") & same("position")),
    )  # fmt: skip
    grid = patches.view(3, 7, 7, 10).permute(0, 3, 1, 2)
    seen = head.contexts[0](grid).relu().permute(0, 2, 3, 1)
    flat, total, many = targets.reshape(-1, 8), torch.zeros((), dtype=torch.float64), 0
    for rows, predict in zip((3, 4), head.ahead[0], strict=True):
        logits = predict(seen[:, :-rows]).reshape(-1, 8) @ flat.T * 0.1
        b, i, j = torch.meshgrid(torch.arange(3), torch.arange(7 - rows), torch.arange(7), indexing="ij")
        label = (b * 49 + (i + rows) * 7 + j).flatten()
        total, many = total + F.cross_entropy(logits, label, reduction="sum"), many + len(label)
    torch.testing.assert_close(contrast(table).value, total / many)


def test_a_context_sees_its_row_and_those_above_from_whichever_side() -> None:
    head = Below(4, first=1, last=6, directions=4, hidden=8)
    patches = torch.randn(1, 49, 5)
    head(patches)
    position = torch.arange(49).view(7, 7)
    offset = 0
    for turn in range(4):
        place = position.rot90(turn)
        for rows in range(1, 7):
            for i in range(7 - rows):
                for j in range(0, 7, 3):
                    query = offset + i * 7 + j
                    inputs = patches.clone().requires_grad_()
                    found = head(inputs)
                    (gradient,) = torch.autograd.grad(found.z[0, query].square().sum(), inputs)
                    moved = {int(p) for p in gradient[0].abs().sum(1).nonzero()}
                    assert moved <= set(place[: i + 1].flatten().tolist()), (turn, rows, i, j)
                    assert found.meta["position"][0, query] == place[i + rows, j]
                    assert found.meta["step"][0, query] == rows
            offset += (7 - rows) * 7


def leaks(encoder: nn.Module) -> bool:
    """Whether what is above knows, in training, of a patch below that it is to predict."""
    patches = Patchwise(encoder).train()
    head = Below(8, first=2, last=5, hidden=8)
    images = torch.rand(4, 49, 1, 4, 4)
    changed = images.clone()
    changed[:, 35:] = torch.rand(4, 14, 1, 4, 4)  # the two rows at the bottom
    with torch.no_grad():
        head(patches(images))
        before, after = head(patches(images)), head(patches(changed))
    above = before.meta["position"] - 7 * before.meta["step"] < 35
    return not torch.equal(before.z[above], after.z[above])


def test_batch_normalisation_would_leak_and_cpcs_encoders_have_none() -> None:
    assert leaks(ConvNet(8, 2, 1, norm="batch")), "the known mistake is caught"
    for name in ("cpc", "cpc-v2"):
        pipeline = recipe(name).pipeline
        encoder = pipeline.branches["context"].encoder
        assert isinstance(encoder, Patchwise)
        assert not leaks(encoder.encoder)
        assert not any(isinstance(part, nn.BatchNorm2d) for part in pipeline.modules())
    norms = [type(part) for part in recipe("cpc-v2").pipeline.modules() if isinstance(part, nn.GroupNorm)]
    assert norms, "layer normalisation in v2"


def test_grids_that_do_not_reach_so_far_are_told() -> None:
    with pytest.raises(CrlError, match=r"\b48 patches\b"):
        Below()(torch.randn(2, 48, 8))
    with pytest.raises(CrlError, match=r"\bgrid\b.*\b5 rows\b"):
        Below()(torch.randn(2, 25, 8))


# -- PIRL --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transformation", ["jigsaw", "rotation"])
def test_pirls_two_losses_share_a_bank_that_the_images_alone_fill(transformation: str) -> None:
    pipeline, _ = drawn("pirl", f"transformation={transformation}", "share=0.3")
    image, other = pipeline.contrasts
    assert (image.weight, other.weight) == (0.7, 0.3)
    assert other.memories[0].memory is image.memories[0], "one bank"
    assert pipeline.branches["image"].head is not pipeline.branches["other"].head, "two heads"
    pipeline.loss(digits())
    pipeline.on_step()
    losses = pipeline.loss(digits())
    before = image.memories[0].z.clone()
    pipeline.on_step()
    fresh = F.normalize(losses.embeddings["image"].z.detach(), dim=1)
    expected = F.normalize(0.5 * before[:8] + 0.5 * fresh, dim=1)
    torch.testing.assert_close(image.memories[0].z[:8], expected)
    assert torch.equal(image.memories[0].z[8:], before[8:])


def test_pirls_term_is_the_softmax_over_the_bank_for_both() -> None:
    pipeline, _ = drawn("pirl", "share=0.25")
    pipeline.loss(digits())
    pipeline.on_step()
    losses = pipeline.loss(digits())
    bank = pipeline.contrasts[0].memories[0].z
    terms = [
        F.cross_entropy(F.normalize(losses.embeddings[name].z, dim=1) @ bank.T / 0.07, torch.arange(8))
        for name in ("image", "other")
    ]
    torch.testing.assert_close(losses.total, 0.75 * terms[0] + 0.25 * terms[1])


def test_pieces_are_encoded_apart_and_joined_in_their_order() -> None:
    pipeline, views = drawn("pirl", "transformation=jigsaw")
    pipeline.eval()
    patches = views["patches"].data
    encoder, head = pipeline.branches["image"].encoder, pipeline.branches["other"].head
    with torch.no_grad():
        together = encoder(patches)
        alone = torch.stack([encoder(patches[:, i]) for i in range(9)], 1)
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(head(together), head(together.flip(1)))
    with pytest.raises(CrlError, match=r"Pieces takes patches \[N, 9, d\]"):
        head(together[:, :8])


# -- learning ----------------------------------------------------------------------------------------------

# As for the other recipes: raw pixels know .47 of the moved digits, an untrained network .45 to .55, chance is .1.
BAR = 0.60
EPOCHS = {"swav": 25, "pirl": 40, "amdim": 10}


def trained(made: Recipe, split: str, epochs: int) -> tuple[Pipeline, dict[str, float]]:
    training = attrs.evolve(made.training, epochs=epochs)
    fitted = crl.fit(made.pipeline, made.source, training, accelerator="cpu", devices=1, show=False)
    assert fitted.finished
    return fitted.pipeline, crl.evaluate(fitted.pipeline, made.source, evaluators=["knn"]).figures["knn"][split]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(EPOCHS))
def test_some_epochs_on_digits_teach_what_moving_does_not_change(name: str) -> None:
    pipeline, figures = trained(recipe(name), "moved", EPOCHS[name])
    assert figures["trained"] >= BAR, figures
    assert figures["trained"] > max(figures["raw"], figures["untrained"]) + 0.1
    table = pipeline.embed(pipeline.sampler(digits(512)))
    for branch in pipeline.branches:
        assert spread(table[branch].rows().z.detach()) > 0.3, f"{branch} has not collapsed"


PACK = Path(__file__).parents[3] / "benchmarks" / "cifar10_npz.py"


class SmallCIFAR10:
    """The first 5,000 training and 2,000 test images of CIFAR-10, from a folder."""

    splits = ("train", "test")

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def items(self, split: str) -> crl.InMemory:
        images, labels = runpy.run_path(str(PACK))["read"](self.folder, split, 5_000 if split == "train" else 2_000)
        data = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        return crl.InMemory(data, {"label": torch.from_numpy(labels)})


@pytest.mark.slow
@pytest.mark.skipif(not PACK.is_file(), reason="the plugin stands alone")
@pytest.mark.parametrize(("name", "epochs"), [("dim", 4), ("cpc", 6), ("cpc-v2", 2)])
def test_a_few_epochs_on_photographs_teach_what_a_linear_map_can_read(name: str, epochs: int, cifar10: Path) -> None:
    """Of one view, nothing is learned that moving doesn't change: so photographs, and the papers' linear probe."""
    made = crl.recipe(name, source=SmallCIFAR10(cifar10))
    fitted = crl.fit(
        made.pipeline, made.source, attrs.evolve(made.training, epochs=epochs), accelerator="cpu", devices=1, show=False
    )
    figures = crl.evaluate(fitted.pipeline, made.source, evaluators=["linear"]).figures["linear"]["test"]
    assert figures["trained"] > figures["untrained"] + 0.02, figures
    assert figures["trained"] > figures["raw"] + 0.05, figures
