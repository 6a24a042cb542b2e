from __future__ import annotations

import copy
import itertools
import math
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import crl_vision.recipes
import pytest
import torch
from crl_vision.encoders.conv_net import ConvNet
from crl_vision.encoders.resnet import ResNet
from crl_vision.samplers.augmented import Augmented
from crl_vision.samplers.settings import SETTINGS
from crl_vision.sources.digits import Digits
from torch import nn

import crl_core as crl
from crl_core import (
    COLUMNS,
    CrlError,
    Pipeline,
    Progress,
    Recipe,
    SpecError,
    View,
    describe_method,
    get,
    methods_table,
    parse_settings,
    prepare,
    spread,
    to_toml,
)
from crl_core.engine import folder

NAMES = ["simclr", "moco-v2", "byol", "sup-con"]
ALL = [
    *NAMES, "amdim", "barlow-twins", "cpc", "cpc-v2", "deep-ranking", "dim", "dr-lim", "hoffer-ailon",
    "instance-discrimination", "interclr", "invariant-spreading", "local-aggregation", "looc", "moco-v1", "nnclr",
    "oasis", "pcl", "pirl", "siamese", "simclr-v2", "simsiam", "swav", "vicreg", "w-mse",
]  # fmt: skip


class Pictures:
    """As many images of noise as are asked for, of a shape."""

    splits = ("train",)

    def __init__(self, channels: int = 3, size: int = 32, count: int = 8) -> None:
        self.channels, self.size, self.count = channels, size, count

    def items(self, split: str) -> crl.InMemory:
        generator = torch.Generator().manual_seed(0)
        data = torch.randint(0, 256, (1, self.channels, self.size, self.size), dtype=torch.uint8, generator=generator)
        data = data.expand(self.count, -1, -1, -1)  # a million of them in the memory of one
        return crl.InMemory(data, {"label": torch.zeros(1, dtype=torch.int64).expand(self.count)})


def recipe(name: str, *settings: str) -> Recipe:
    return prepare(get("recipe", name), parse_settings(settings))


def made(name: str, source: object, **options: Any) -> Recipe:
    return crl.recipe(name, source=source, **options)


def digits(count: int = 8) -> View:
    return Digits().items("train").__getitems__(list(range(count)))


# -- the paper's tables ------------------------------------------------------------------------------------


def test_every_recipe_fills_all_columns_of_the_papers_tables() -> None:
    rows = {row["name"]: row for row in methods_table() if row["domain"] == "vision"}
    assert sorted(rows) == sorted(ALL)
    for row in rows.values():
        assert COLUMNS == ("query", "positive", "negative", "encoder", "heads", "loss")
        assert all(row[column].strip() for column in COLUMNS)
    for name, authors in {
        "simclr": "Chen, Kornblith, Norouzi, Hinton 2020",
        "moco-v2": "Chen, Fan, Girshick, He 2020, Improved Baselines",
        "byol": "Grill, Strub",
        "sup-con": "Khosla, Teterwak",
    }.items():
        assert authors in rows[name]["paper"]


@pytest.mark.parametrize(
    ("name", "row"),
    [
        # Two views of each other; the rest of the batch, of both views, is negative.
        (
            "simclr",
            dict(
                query="a, b by", positive='a, b: same("instance") & ~same("row")',
                negative='~same("instance") & ~same("row")', encoder="ConvNet(channels=1)", heads="MLP",
                loss="InfoNCE of Cosine",
            ),
        ),
        # One view against the other by a momentum encoder; only the queue is negative.
        (
            "moco-v2",
            dict(
                query="a by", positive='b: same("instance") & same("batch")',
                negative='~same("instance") & ~same("batch"), from Queue(size=4096)',
                encoder="ConvNet(channels=1); key: Momentum(momentum=0.99) of query", heads="MLP(norm=False)",
                loss="InfoNCE of Cosine(temperature=0.2)",
            ),
        ),
        # Each view predicts the other's target; nothing is negative.
        (
            "byol",
            dict(
                query="a, b by", positive='a, b: same("instance") & ~same("view")', negative="none",
                encoder="ConvNet(channels=1); "
                "target: Momentum(momentum=Scheduled(start=0.99, final=1.0)) of projection",
                heads="MLP(size=256, hidden=1024); Prediction(hidden=1024)", loss="Regression",
            ),
        ),
        # Everything with the same label is positive, never the view itself.
        (
            "sup-con",
            dict(
                query="a, b by", positive='a, b: (same("label") | same("instance")) & ~same("row")',
                negative='~(same("label") | same("instance")) & ~same("row")', encoder="ConvNet(channels=1)",
                heads="MLP", loss="InfoNCE of Cosine(temperature=0.1)",
            ),
        ),
    ],
)  # fmt: skip
def test_the_columns_are_those_of_the_method(name: str, row: dict[str, str]) -> None:
    found = describe_method(recipe(name).pipeline)
    assert found.pop("query").startswith(row.pop("query"))
    assert found == row


# -- what each is made of ------------------------------------------------------------------------------------


def linear_layers(module: nn.Module) -> list[tuple[int, int]]:
    return [(part.in_features, part.out_features) for part in module.modules() if isinstance(part, nn.Linear)]


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm1d) for part in module.modules())


def test_simclr_has_a_head_as_wide_as_its_encoder_and_temperature_a_half() -> None:
    pipeline = recipe("simclr").pipeline.build(digits())
    head = pipeline.branches["query"].head
    assert head is not None
    assert linear_layers(head) == [(256, 256), (256, 128)]
    assert norms(head) == 1
    assert pipeline.contrasts[0].score.temperature == 0.5  # type: ignore[attr-defined]
    pairs = pipeline.contrasts[0].pairs(pipeline.embed(pipeline.sampler(digits())))
    assert pairs is not None
    positive, negative = pairs.masks(slice(None))
    assert (positive.sum(1) == 1).all()
    assert (negative.sum(1) == 14).all(), "2 (N - 1), from both views"


def test_moco_has_no_batch_norm_in_its_heads_and_a_queue_of_earlier_keys_alone() -> None:
    pipeline = recipe("moco-v2", "queue=20").pipeline.build(digits())
    query, key = pipeline.branches["query"], pipeline.branches["key"]
    assert query.head is not None
    for head in (query.head, key.copies["head"]):
        assert linear_layers(head) == [(256, 256), (256, 128)]
        assert norms(head) == 0
    for _ in range(2):
        pipeline.loss(digits())
        pipeline.on_step()
    pairs = pipeline.contrasts[0].pairs(pipeline.loss(digits()).embeddings)
    assert pairs is not None
    positive, negative = pairs.masks(slice(None))
    assert positive.shape == (8, 8 + 16)
    assert torch.equal(positive[:, :8], torch.eye(8, dtype=torch.bool)), "its own image, now"
    assert not positive[:, 8:].any()
    assert not negative[:, :8].any(), "keys of this step are no negatives"
    assert (negative[:, 8:].sum(1) == 14).all(), "two earlier keys of the same image are neither"


def test_byols_target_has_the_projector_but_no_predictor() -> None:
    pipeline = recipe("byol").pipeline.build(digits())
    projection, online, target = (pipeline.branches[name] for name in ("projection", "online", "target"))
    assert projection.head is not None
    assert online.head is not None
    assert linear_layers(projection.head) == linear_layers(target.copies["head"]) == [(256, 1024), (1024, 256)]
    assert linear_layers(online.head) == [(256, 1024), (1024, 256)]
    assert norms(projection.head) == norms(online.head) == norms(target.copies["head"]) == 1
    assert target.head is None
    assert set(target.copies) == {"encoder", "head"}
    assert not online.copies
    update = target.update
    momentum = [update.at(Progress(step, 100, 0, 1)) for step in (0, 50, 100)]  # type: ignore[attr-defined]
    assert momentum == pytest.approx([0.99, 0.995, 1.0])


def test_sup_cons_positives_have_the_label_and_without_one_the_instance() -> None:
    pipeline = recipe("sup-con").pipeline
    assert pipeline.contrasts[0].loss.positives == "outside"  # type: ignore[attr-defined]
    batch = View(digits(4).data, {"instance": torch.arange(4), "label": torch.tensor([7, 7, 3, -1])})
    pipeline.build(batch)
    pairs = pipeline.contrasts[0].pairs(pipeline.embed(pipeline.sampler(batch)))
    assert pairs is not None
    positive, negative = pairs.masks(slice(None))
    assert positive.sum(1).tolist() == [3, 3, 1, 1] * 2
    assert not positive.diagonal().any()
    assert not negative.diagonal().any()
    assert (positive ^ negative ^ torch.eye(8, dtype=torch.bool)).all()


@pytest.mark.parametrize(
    ("name", "temperature"), [("simclr", 0.5), ("moco-v2", 0.2), ("sup-con", 0.1)]
)  # fmt: skip
def test_temperatures_are_the_papers_unless_told(name: str, temperature: float) -> None:
    for settings, expected in (((), temperature), (("temperature=0.3",), 0.3)):
        assert recipe(name, *settings).pipeline.contrasts[0].score.temperature == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["moco-v2", "byol"])
def test_the_momentum_encoder_has_no_gradient_and_follows(name: str) -> None:
    pipeline = recipe(name, "momentum=0.9").pipeline.build(digits())
    follower = next(branch for branch in pipeline.branches.values() if branch.copies)
    followed = pipeline.branches[str(follower.tracks)]
    optimiser = torch.optim.SGD([part for part in pipeline.parameters() if part.requires_grad], 0.1)
    for step in range(2):
        before = copy.deepcopy(follower.copies)
        optimiser.zero_grad()
        pipeline.loss(digits()).total.backward()
        if name == "moco-v2" and step == 0:
            pipeline.on_step()  # nothing is in the queue yet
            continue
        optimiser.step()
        pipeline.on_step(Progress(0, 100, 0, 1))  # BYOL's momentum rises with it
        for part in ("encoder", "head"):
            triples = zip(
                before[part].parameters(), follower.copies[part].parameters(), getattr(followed, part).parameters(),
                strict=True,
            )  # fmt: skip
            for old, new, theirs in triples:
                assert new.grad is None
                assert not new.requires_grad
                assert theirs.grad is not None
                torch.testing.assert_close(new, 0.9 * old + 0.1 * theirs.detach())
    assert follower.copies["encoder"].training, "its batch statistics are the batch's, as in both papers"


# -- what is chosen by the images ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "size", "settings", "encoder"),
    [
        (1, 16, "strokes", ConvNet),
        (3, 32, "simclr-small", ConvNet),
        (3, 64, "simclr-small", ResNet),
        (3, 96, "simclr", ResNet),
        (1, 96, "simclr", ResNet),
    ],
)
def test_views_and_encoder_suit_the_images(channels: int, size: int, settings: str, encoder: type) -> None:
    for name in NAMES:
        pipeline = made(name, Pictures(channels, size)).pipeline
        own = {"moco-v2": "moco-v2", "byol": "byol"}.get(name, settings)
        assert isinstance(pipeline.sampler, Augmented)
        assert pipeline.sampler.settings == ("strokes" if settings == "strokes" else own)
        assert pipeline.sampler.augmentations == [*SETTINGS[str(pipeline.sampler.settings)] * 2][:2]
        found = next(iter(pipeline.branches.values())).encoder
        assert isinstance(found, encoder)
        assert found.channels == channels  # type: ignore[union-attr]
        if isinstance(found, ResNet):
            assert found.stem == ("small" if size == 64 else "imagenet")
            assert found.depth == 18


# -- presets -------------------------------------------------------------------------------------------------

SGD, STEPS = crl.SGD(0.03, momentum=0.9, weight_decay=1e-4), crl.StepDecay([0.6, 0.8])
ADAMW = crl.AdamW(3e-3, weight_decay=1e-4)
PAPER: dict[str, tuple[int, int, Any, Any]] = {
    "amdim": (50, 480, crl.Adam(2e-4, weight_decay=1e-5, beta1=0.8), crl.StepDecay([0.6, 0.9], 0.2, warmup=0.2)),
    "barlow-twins": (1_000, 2_048, crl.LARS(1.6, weight_decay=1e-6), crl.CosineDecay(10.0, final=0.001)),
    "byol": (1_000, 4_096, crl.LARS(3.2, weight_decay=1.5e-6), crl.CosineDecay(10.0)),
    "cpc": (200, 512, crl.Adam(2e-4), crl.Constant()),
    "cpc-v2": (200, 512, crl.Adam(4e-4, beta1=0.8), crl.Constant()),
    "deep-ranking": (100, 256, crl.SGD(0.01, momentum=0.9, weight_decay=1e-3), crl.Constant()),
    "dim": (1_000, 64, crl.Adam(1e-4), crl.Constant()),
    "dr-lim": (100, 128, crl.SGD(0.01), crl.Constant()),
    "hoffer-ailon": (30, 128, crl.SGD(0.1, momentum=0.9, weight_decay=1e-4), crl.Constant()),
    "instance-discrimination": (200, 256, SGD, STEPS),
    "moco-v1": (200, 256, SGD, STEPS),
    "moco-v2": (200, 256, SGD, crl.CosineDecay()),
    "oasis": (100, 128, crl.SGD(0.1), crl.Constant()),
    "siamese": (100, 128, crl.SGD(0.01), crl.Constant()),
    "simclr": (1_000, 4_096, crl.LARS(4.8, weight_decay=1e-6), crl.CosineDecay(10.0)),
}  # fmt: skip
"""Epochs, items of a batch, optimiser and schedule."""
DIGITS = {
    "amdim": (30, 128), "byol": (80, 64), "cpc": (20, 16), "cpc-v2": (20, 16),
}  # fmt: skip
"""Epochs and items of a batch of the preset, where they aren't 80 and 128."""


@pytest.mark.parametrize("name", PAPER)
def test_a_recipe_trains_as_its_paper_does_unless_a_preset_says_otherwise(name: str) -> None:
    for made in (get("recipe", name)(), recipe(name, "preset=paper")):
        training = made.training
        assert (training.epochs, training.batch_size, training.optimiser, training.schedule) == PAPER[name]
    told = recipe(name).training
    assert told == recipe(name, "preset=digits").training, "the default of crl train"
    assert (told.epochs, told.batch_size) == DIGITS.get(name, (80, 128))
    assert (told.optimiser, told.schedule) == (
        (crl.SGD(20.0), crl.CosineDecay()) if name == "oasis" else (ADAMW, crl.CosineDecay(warmup=2.0))
    )
    assert (told.accumulate, told.clip, told.groups) == (1, None, [])


@pytest.mark.parametrize(
    ("name", "place", "paper", "digits"),
    [
        ("amdim", "branches.one.head.size", 1_536, 128),
        ("amdim", "contrasts.0.loss.clip", 20.0, 10.0),
        ("amdim", "contrasts.0.loss.penalty", 0.04, 0.05),
        ("barlow-twins", "branches.one.head.size", 8_192, 1_024),
        ("barlow-twins", "branches.one.head.hidden", 8_192, 1_024),
        ("barlow-twins", "contrasts.0.loss.redundancy", 0.0051, 0.005),
        ("byol", "branches.projection.head.hidden", 4_096, 1_024),
        ("byol", "branches.online.head.hidden", 4_096, 1_024),
        ("byol", "branches.target.update.momentum.start", 0.996, 0.99),
        ("byol", "branches.target.update.momentum.final", 1.0, 1.0),
        ("cpc", "branches.context.head.hidden", 256, 64),
        ("cpc-v2", "branches.context.head.hidden", 256, 64),
        ("cpc-v2", "branches.context.head.size", 64, 64),
        ("cpc-v2", "contrasts.0.score.temperature", 10.0, 10.0),
        ("deep-ranking", "branches.image.head.head.size", 4_096, 128),
        ("dim", "branches.vector.head.size", 2_048, 128),
        ("dim", "branches.places.head.hidden", 2_048, 256),
        ("dr-lim", "contrasts.0.loss.margin", 1.0, 1.0),
        ("instance-discrimination", "contrasts.0.score.temperature", 0.07, 0.1),
        ("instance-discrimination", "contrasts.0.keys.0.use", "core/drawn", "core/bank"),
        ("instance-discrimination", "contrasts.0.loss.use", "core/proximal", "core/info-nce"),
        ("moco-v1", "contrasts.0.score.temperature", 0.07, 0.07),
        ("moco-v1", "contrasts.0.keys.0.size", 65_536, 4_096),
        ("moco-v1", "branches.key.update.momentum", 0.999, 0.99),
        ("moco-v2", "contrasts.0.score.temperature", 0.2, 0.2),
        ("moco-v2", "contrasts.0.keys.0.size", 65_536, 4_096),
        ("moco-v2", "branches.key.update.momentum", 0.999, 0.99),
        ("oasis", "contrasts.0.loss.margin", 1.0, 0.05),
        ("siamese", "contrasts.0.loss.margin", 1.0, 1.0),
        ("simclr", "contrasts.0.score.temperature", 0.1, 0.5),
    ],
)
def test_the_numbers_of_a_method_are_the_papers_and_those_of_its_preset(
    name: str, place: str, paper: float | str, digits: float | str
) -> None:
    for preset, expected in (("paper", paper), ("digits", digits)):
        found: Any = crl.plain(crl.describe(recipe(name, f"preset={preset}").pipeline))
        for step in place.split("."):
            found = found[int(step) if step.isdigit() else step]
        assert found == expected, (preset, place)


def test_cpcs_micro_batches_are_the_papers_sixteen_images() -> None:
    for name, clip in (("cpc", None), ("cpc-v2", 0.01)):
        training = recipe(name, "preset=paper").training
        assert (training.batch_size // training.accumulate, training.clip) == (16, clip)


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """All places of a spec with what stands there."""
    if isinstance(value, (dict, list)):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, f"{place}.{name}")
    else:
        yield place, value


@pytest.mark.parametrize("name", ALL)
def test_one_image_more_changes_no_number_of_a_method_by_more_than_its_share(name: str) -> None:
    """No size or rate jumps at some number of images; clusters may follow it in proportion."""
    for preset, fewer in itertools.product(("paper", "digits"), (9_999, 999_999)):
        one, other = (crl.recipe(name, preset=preset, source=Pictures(count=count)) for count in (fewer, fewer + 1))
        assert one.training == other.training
        before, after = (dict(leaves(crl.plain(crl.describe(each.pipeline)))) for each in (one, other))
        assert before.keys() == after.keys()
        for place, number in before.items():
            if after[place] != number:
                numbers = [float(re.sub(r"\D", "", str(each))) for each in (number, after[place])]  # in a name, too
                assert abs(numbers[0] - numbers[1]) <= 1, (preset, place, number, after[place])


@pytest.mark.parametrize("name", ["siamese", "moco-v1", "simclr", "instance-discrimination"])
def test_a_run_with_the_papers_settings_goes_through(name: str, tmp_path: Path) -> None:
    arguments = ["train", name, "--set", "preset=paper", "--set", "epochs=1", "--out", str(tmp_path / "run")]
    (command,) = entry_points(group="console_scripts", name="crl")
    assert command.load()([*arguments, "--no-report", "--accelerator", "cpu"]) == 0
    written = tomllib.loads((tmp_path / "run" / "spec.toml").read_text(encoding="utf-8"))["training"]
    assert (written["epochs"], written["batch_size"]) == (1, PAPER[name][1])
    assert written["optimiser"]["learning_rate"] == PAPER[name][2].learning_rate


# -- files ---------------------------------------------------------------------------------------------------


def test_a_recipe_is_read_on_one_screen() -> None:
    """The folder holds recipes alone, and a file of it has 20 to 40 lines in the mean."""
    targets = [entry.value.partition(":")[0] for entry in entry_points(group="crl.recipe")]
    wanted = {target.rpartition(".")[2] for target in targets if target.startswith("crl_vision.recipes.")}
    files = [path for path in Path(crl_vision.recipes.__file__).parent.glob("*.py") if path.stem != "__init__"]
    assert {path.stem for path in files} == wanted
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert 20 <= sum(lines.values()) / len(lines) <= 40, lines
    assert max(lines.values()) <= 60, lines


def test_what_gives_no_images_is_refused() -> None:
    class Words:
        splits = ("train",)

        def items(self, split: str) -> Any:
            return crl.InMemory(torch.zeros(4, 7), {})

    for name in NAMES:
        with pytest.raises(CrlError, match=r"\bWords\b.*\bimages \[N, C, H, W\]"):
            made(name, Words())


# -- settings and specs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_recipes_come_back_from_their_spec(name: str) -> None:
    found = recipe(name)
    data = folder.spec_of(found.pipeline, found.source, found.training)
    pipeline, source, training = folder.parts_of(tomllib.loads(to_toml(data)))
    assert folder.spec_of(pipeline, source, training) == data
    assert training == found.training
    assert isinstance(source, Digits)
    batch = digits()
    for one in (found.pipeline, pipeline):
        one.build(batch)
        one.loss(batch)
        one.on_step()
    pipeline.load_state_dict(found.pipeline.state_dict())
    losses = []
    for one in (found.pipeline, pipeline):
        torch.manual_seed(0)
        losses.append(one.loss(batch).total)
    assert torch.equal(*losses)


def test_settings_reach_any_place() -> None:
    assert recipe("simclr", "pipeline.contrasts.0.score.temperature=0.1").pipeline.contrasts[0].score.temperature == 0.1  # type: ignore[attr-defined]
    assert recipe("simclr", "epochs=7", "optimiser.learning_rate=0.5").training.epochs == 7
    sampler = recipe("simclr", "pipeline.sampler.settings=byol", "size=24").pipeline.sampler
    assert isinstance(sampler, Augmented)
    assert (sampler.settings, sampler.size) == ("byol", 24)
    encoder = recipe("moco-v2", "encoder=resnet", "encoder.stem=small", "encoder.channels=1").pipeline.branches["query"]
    assert isinstance(encoder.encoder, ResNet)
    assert encoder.encoder.stem == "small"
    own = recipe("simclr", "pipeline.sampler.settings=[{flip=0.5, area=[0.3, 1]}]").pipeline.sampler
    assert isinstance(own, Augmented)
    assert (own.augmentations[1].flip, own.augmentations[1].area) == (0.5, (0.3, 1.0))
    other = recipe("moco-v2", "queue=100", "momentum=0.0", "training.optimiser.beta1=0.8")
    assert describe_method(other.pipeline)["negative"].endswith("from Queue(size=100)")
    assert other.pipeline.branches["key"].update.momentum == 0.0  # type: ignore[attr-defined]
    assert other.training.optimiser == crl.AdamW(3e-3, weight_decay=1e-4, beta1=0.8)
    target = recipe("byol", "momentum=0.0").pipeline.branches["target"]
    assert target.update.momentum.start == 0.0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "setting", "said"),
    [
        ("simclr", "temperatur=0.1", r"'temperatur'.*\bsource\b.*'temperature'"),
        ("simclr", "epoch=3", "'epoch'.*'epochs'"),
        ("moco-v2", "que=100", "'que'.*'queue'"),
        ("byol", "queue=100", "no setting 'queue'"),
        ("simclr", "encoder=resnt", r"\bencoder: .*'resnt'.*'resnet'"),
        ("simclr", "source=digts", r"\bsource: .*'digts'.*'digits'"),
        ("simclr", "temperature=hot", r"\btemperature\b.*'hot'"),
        ("simclr", "temperature=0", r"\btemperature\b.*\b0\b"),
        ("simclr", "size=0", r"\bsize\b.*\b1 pixel\b.*\b0\b"),
        ("simclr", "size=2.5", r"\bsize: .*\b2\.5\b"),
        ("moco-v2", "queue=0", r"\bqueue\b.*\b1 key\b.*\b0\b"),
        ("moco-v2", "momentum=2", r"\bmomentum\b.*\b0\b.*\b1\b.*\b2\b"),
        ("byol", "momentum=-1", r"\bmomentum\b.*\b0\b.*\b1\b.*-1\b"),
        ("simclr", "epochs=0", "epochs"),
        (
            "simclr",
            "pipeline.contrasts.0.score.temprature=0.1",
            r"'temprature'.*'temperature'",
        ),
        ("simclr", "pipeline.contrasts.1.score.temperature=0.1", r"\bcontrasts\b.*'1'"),
        ("simclr", "pipeline.sampler.settings=simclr-smal", "'simclr-smal'.*'simclr-small'"),
        ("simclr", "pipeline.sampler.settings=[{flip=2.0}]", r"\bsampler\.settings\.0: flip\b.*\b0\b.*\b1\b.*\b2\.0\b"),
    ],
)
def test_a_setting_that_means_nothing_is_told(name: str, setting: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        recipe(name, setting)


# -- training ------------------------------------------------------------------------------------------------

# Before any of it was run: raw pixels know .47 of the moved digits and an untrained network .45, chance is .1.
# A method that learns is far above both after a few epochs; one with a broken pair, target or queue is not.
BAR = 0.60
# BYOL has nothing to push apart, and its target follows ever more slowly: after ten epochs, a hundred steps, it was
# at .50. It gets the epochs of its recipe, and the same bar.
EPOCHS = {"simclr": 10, "moco-v2": 10, "byol": 80, "sup-con": 10}


def trained(name: str) -> tuple[Pipeline, dict[str, float]]:
    found = recipe(name, f"epochs={EPOCHS[name]}")
    fitted = crl.fit(found.pipeline, found.source, found.training, accelerator="cpu", devices=1, show=False)
    assert fitted.finished
    figures = crl.evaluate(fitted.pipeline, found.source, evaluators=["knn"]).figures["knn"]["moved"]
    return fitted.pipeline, figures


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_some_epochs_on_digits_teach_what_moving_does_not_change(name: str) -> None:
    pipeline, figures = trained(name)
    assert figures["trained"] >= BAR
    assert figures["trained"] > max(figures["raw"], figures["untrained"]) + 0.1
    with torch.no_grad():
        methods_table = pipeline.embed(pipeline.sampler(digits(512)))
    for branch in pipeline.branches:
        assert spread(methods_table[branch].z) > 0.3, f"{branch} has not collapsed"


def test_a_few_steps_lower_the_loss_and_change_what_is_encoded() -> None:
    for name in NAMES:
        at_once = "warmup=0" if name in ("pcl", "local-aggregation") else "schedule.warmup=0"
        found = recipe(name, "epochs=1", "batch_size=64", at_once, "log_every=1", "pipeline.sampler.size=8")
        pipeline = found.pipeline.build(digits())
        before = pipeline.encode(digits())
        fitted = crl.fit(pipeline, found.source, found.training, accelerator="cpu", devices=1, show=False)
        losses = [line["loss"] for line in fitted.metrics if "loss" in line]
        assert len(losses) == 22
        if name == "moco-v2":  # beside what a guess loses, since the queue still grows; the first step has none
            losses = [loss - math.log(1 + 64 * step) for step, loss in enumerate(losses)][1:]
        assert sum(losses[-3:]) < sum(losses[:3]), name
        assert not torch.allclose(pipeline.encode(digits()), before), name
