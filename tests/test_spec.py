"""A pipeline as data: nothing is lost on the way there and back, and wrong data end in words, never in code."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
import small
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from synthetic import fresh_registry, write_module
from torch import Tensor, nn

import crl_core as crl
from crl_core import Branch, Contrast, CrlError, Penalty, Pipeline, View, assemble, describe, export, same
from crl_core.contracts.parts import Encoder
from crl_core.data.parsing import parse
from crl_core.data.relation import Relation, RelationError
from crl_core.engine import checkpoint, folder
from crl_core.errors import SpecError
from crl_core.method.named import NamedModules
from crl_core.registry import get
from crl_core.spec import spec
from crl_core.spec.assembly import part_from, part_of
from crl_core.spec.spec import Part, SameAs, convert, plain

# The same examples every time; fixtures of the function are only folders, which the examples may share.
FUZZ = settings(derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))


class Points:
    """Both views of a point are the point with noise."""

    views = ("a", "b")

    def __init__(self, noise: float = 0.1) -> None:
        self.noise = noise

    def __call__(self, batch: View) -> dict[str, View]:
        return {name: View(batch.data + self.noise * torch.randn_like(batch.data), batch.meta) for name in self.views}

    def clean(self, batch: View) -> View:
        return batch


class Perceptron(nn.Module):
    def __init__(self, width: int = 8, inputs: int = 5) -> None:
        super().__init__()
        self.width, self.inputs = width, inputs
        self.layers = nn.Sequential(nn.Linear(inputs, width), nn.ReLU())

    def forward(self, data: Tensor) -> Tensor:
        found: Tensor = self.layers(data)
        return found


class Spread(nn.Module):
    takes = "embeddings"

    def forward(self, table: crl.Embeddings) -> Tensor:
        return -table.z.var(0).mean()


@attrs.frozen
class Layer:
    width: int
    rate: float = attrs.field(default=0.5, validator=attrs.validators.le(1))


class Options(nn.Module):
    """An encoder with an option of every sort."""

    def __init__(
        self,
        flag: bool = False,
        count: int = 1,
        rate: float = 1.0,
        word: str = "x",
        mode: Literal["sum", "mean", 2] = "sum",
        pair: tuple[float, int] = (1.0, 2),
        several: tuple[int, ...] = (),
        names: list[str] | None = None,
        table: Mapping[str, float] | None = None,
        relation: Relation | None = None,
        either: str | list[Layer] = "",
        inner: Encoder | None = None,
        inners: list[Encoder] | None = None,
        named: dict[str, Encoder] | None = None,
    ) -> None:
        super().__init__()
        self.flag, self.count, self.rate, self.word, self.mode = flag, count, rate, word, mode
        self.pair, self.several, self.names, self.table = pair, several, names, table
        self.relation, self.either, self.inner = relation, either, inner
        self.inners, self.named = inners, named

    def forward(self, data: Tensor) -> Tensor:
        return data


def register_parts() -> None:
    crl.register("sampler", "points", Points)
    crl.register("encoder", "perceptron", Perceptron)
    crl.register("encoder", "options", Options)
    crl.register("loss", "spread", Spread)
    crl.register("source", "small-points", small.Points)


@pytest.fixture(autouse=True)
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder on the path, and the parts of this file."""
    with fresh_registry(tmp_path):
        register_parts()
        yield tmp_path


def short() -> Pipeline:
    return Pipeline(Points(), encoder=Perceptron(), head=crl.MLP(6), score=crl.Cosine(0.2), loss=crl.InfoNCE())


def rich() -> Pipeline:
    """Every sort of thing that a spec can hold."""
    encoder, head, score, queue = Perceptron(6), crl.Linear(4), crl.Cosine(0.2), crl.Queue(12)
    return Pipeline(
        Points(0.3),
        branches={
            "query": Branch("a", encoder=encoder, head=head),
            "shared": Branch(("a", "b"), encoder=encoder, head=head),
            "each": Branch(("a", "b"), encoder={"a": Perceptron(), "b": encoder}),
            "frozen": Branch("b", encoder=Perceptron(6), head=crl.MLP(4, depth=3, norm=False), update=crl.Frozen()),
            "key": Branch("b", tracks="query", update=crl.Momentum(crl.Scheduled(0.9, 1.0))),
            "local": Branch(tap="query.representation", head=crl.Prediction(), update=crl.StopGradient()),
        },
        contrasts=[
            Contrast("query", "key", score=score, loss=crl.InfoNCE("inside"), keys=queue, weight=2),
            Contrast(
                ("query", "frozen"),
                "key",
                score=score,
                loss="info-nce",
                keys=[crl.Drawn(2, of=queue), crl.Bank(9)],
                name="drawn",
                weight=crl.Scheduled(1.0, 0.5, crl.LinearDecay()),  # type: ignore[arg-type]
            ),
            Contrast(
                "shared", "shared", loss="info-nce", positive='same("instance") & ~same("row") | within("view", 1.5)'
            ),
            Contrast("local", "key", loss=crl.Regression(), kernel="dense", negative=same("label")),
        ],
        penalties=[Penalty("each", Spread, weight=0.25)],
    )


PIPELINES: list[Callable[[], Pipeline]] = [short, rich]


def data_of(make: Callable[[], Pipeline]) -> dict[str, Any]:
    found: dict[str, Any] = plain(describe(make()))
    return found


# -- there and back -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", PIPELINES)
def test_a_pipeline_that_is_assembled_describes_itself_the_same(make: Callable[[], Pipeline]) -> None:
    description = describe(make())
    again = assemble(description)
    assert describe(again) == description
    assert describe(assemble(plain(description))) == description
    assert [name for name, _ in again.named_modules()] == [name for name, _ in make().named_modules()]


@pytest.mark.parametrize("ending", ["toml", "json"])
@pytest.mark.parametrize("make", PIPELINES)
def test_files_keep_everything(make: Callable[[], Pipeline], ending: str, tmp_path: Path) -> None:
    data = data_of(make)
    spec.write(data, tmp_path / f"spec.{ending}")
    assert spec.read(tmp_path / f"spec.{ending}") == data
    assert plain(describe(assemble(spec.read(tmp_path / f"spec.{ending}")))) == data


@pytest.mark.parametrize("name", ["simclr", "moco-v2", "byol", "sup-con"])
def test_recipes_survive_the_way_through_toml(name: str, tmp_path: Path) -> None:
    pytest.importorskip("crl_vision")
    description = describe(get("recipe", f"vision/{name}")().pipeline)
    spec.write(plain(description), tmp_path / "spec.toml")
    assert describe(assemble(spec.read(tmp_path / "spec.toml"))) == description


def test_every_value_is_written_and_every_address_is_full() -> None:
    data = data_of(short)
    assert data == {
        "sampler": {"use": "local/points", "noise": 0.1},
        "branches": {
            "query": {
                "view": ["a", "b"],
                "encoder": {"use": "local/perceptron", "width": 8, "inputs": 5},
                "head": {"use": "core/mlp", "size": 6, "depth": 2, "norm": True, "final_norm": False},
                "update": {"use": "core/shared"},
            }
        },
        "contrasts": [
            {
                "query": "query",
                "key": "query",
                "score": {"use": "core/cosine", "temperature": 0.2, "learned": False},
                "loss": {"use": "core/info-nce", "positives": "outside"},
                "positive": 'same("instance") & ~same("row")',
                "negative": '~same("instance") & ~same("row")',
                "keys": [],
                "symmetric": False,
                "weight": 1.0,
                "kernel": "auto",
                "name": "query",
            }
        ],
        "penalties": [],
    }


def test_relations_are_written_as_people_write_them() -> None:
    text = spec.to_toml(data_of(rich))
    assert """positive = 'same("instance") & ~same("row") | within("view", 1.5)'""" in text


@FUZZ
@given(
    st.dictionaries(st.text(max_size=8), st.text(max_size=20) | st.lists(st.text(max_size=8), max_size=3), max_size=4)
)
def test_toml_keeps_any_text(data: dict[str, Any]) -> None:
    import tomllib

    # A carriage return before a line feed is one line's end in TOML, and no part of ours needs either.
    assert tomllib.loads(spec.to_toml(data)) == data


def test_shared_modules_stay_shared() -> None:
    data = data_of(rich)
    assert data["branches"]["shared"]["encoder"] == {"same_as": "branches.query.encoder"}
    assert data["branches"]["each"]["encoder"]["b"] == {"same_as": "branches.query.encoder"}
    assert data["contrasts"][1]["keys"][0]["of"] == {"same_as": "contrasts.0.keys.0"}
    pipeline = assemble(data)
    branches, (first, second, *_) = pipeline.branches, pipeline.contrasts
    assert branches["shared"].encoder is branches["query"].encoder
    assert branches["shared"].head is branches["query"].head
    each = branches["each"].encoder
    assert isinstance(each, NamedModules)
    assert each["b"] is branches["query"].encoder
    assert each["a"] is not branches["query"].encoder
    assert first.keys[0] is second.keys[0].of
    assert list(first.memories) == [first.keys[0]]
    assert list(second.memories) == [first.keys[0], second.keys[1]]
    assert first.score is second.score
    assert branches["frozen"].encoder is not branches["query"].encoder


def test_every_sort_of_option_comes_back() -> None:
    options: dict[str, Any] = {
        "flag": True, "count": 3, "rate": 2, "word": "no", "mode": 2, "pair": (0.5, 7), "several": (1, 2, 3),
        "names": ["p", "q"], "table": {"x": 1, "y": 2.5}, "relation": same("label") & ~same("row"),
        "either": [Layer(3), Layer(4, 0.25)], "inner": Perceptron(2), "inners": [Perceptron(3), Options(word="inner")],
        "named": {"one": Perceptron(4)},
    }  # fmt: skip
    part = part_of("encoder", Options(**options), "e")
    data = plain(part)
    assert data["either"] == [{"width": 3, "rate": 0.5}, {"width": 4, "rate": 0.25}]
    assert data["inners"][0] == {"use": "local/perceptron", "width": 3, "inputs": 5}
    assert json.loads(json.dumps(data)) == data
    for source in (part, data):
        made = part_from("encoder", source, "e")
        for name in set(options) - {"inner", "inners", "named"}:
            assert getattr(made, name) == options[name], name
        assert type(made.rate) is float
        assert (made.inner.width, made.inners[0].width, made.named["one"].width) == (2, 3, 4)
        assert plain(part_of("encoder", made, "e")) == data


def test_the_views_of_a_sampler_may_be_written_out() -> None:
    vision = pytest.importorskip("crl_vision.samplers.augmented")
    sampler = vision.Augmented([vision.Augmentation(flip=0.5), vision.Augmentation(blur=1.0)])
    data = plain(part_of("sampler", sampler, "sampler"))
    assert data["settings"][1]["blur"] == 1.0
    assert part_from("sampler", data, "sampler").settings == sampler.settings


# -- what can't be written -------------------------------------------------------------------------------------


def test_an_option_that_is_no_data_is_refused_with_its_place() -> None:
    for wrong in ({"word": object()}, {"table": {"x": torch.zeros(2)}}, {"names": [print]}):
        with pytest.raises(SpecError, match=r"^e\.(word|table\.x|names\.0): "):
            part_of("encoder", Options(**wrong), "e")


def test_none_is_written_only_where_it_is_the_default() -> None:
    with pytest.raises(SpecError, match=r"e\.word is None"):
        part_of("encoder", Options(word=None), "e")  # type: ignore[arg-type]


def test_a_part_that_is_an_attrs_class_is_a_part_all_the_same() -> None:
    @attrs.frozen
    class Half:
        factor: float = 0.5

        def __call__(self, data: Tensor) -> Tensor:
            return self.factor * data

    crl.register("encoder", "half", Half)
    assert part_of("encoder", Options(inner=Half(0.25)), "e").options["inner"] == Part("local/half", {"factor": 0.25})


def test_an_unregistered_part_is_refused_with_its_place() -> None:
    pipeline = Pipeline(Points(), encoder=nn.Linear(5, 4), loss="info-nce")
    with pytest.raises(SpecError, match=r"^branches\.query\.encoder\b.*\bLinear\b.*\bencoder\b"):
        describe(pipeline)


def test_an_option_kept_nowhere_is_refused() -> None:
    class Forgets(nn.Module):
        def __init__(self, width: int = 1) -> None:
            super().__init__()

        def forward(self, x: Tensor) -> Tensor:
            return x

    crl.register("encoder", "forgets", Forgets)
    with pytest.raises(SpecError, match=r"^e: Forgets\b.*'width'"):
        part_of("encoder", Forgets(), "e")


# -- strict conversion ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "hint", "said"),
    [
        ("no", bool, r"^x: .*'no'"),
        (1, bool, r"^x: .*\b1\b"),
        (True, int, r"^x: .*\bTrue\b"),
        (True, float, r"^x: .*\bTrue\b"),
        (1.0, int, r"^x: .*\b1\.0\b"),
        ("1", int, r"^x: .*'1'"),
        (1, str, r"^x: .*\b1\b"),
        (10**400, float, "x: .* too large"),
        ("text", list[str], r"^x: .*\blist\b.*'text'"),
        (["a", 1], list[str], r"^x\.1: .*\b1\b"),
        ([1.0], tuple[float, float], r"^x: .*\b2\b"),
        ([1.0, 2, 3], tuple[float, float], r"^x: .*\b2\b"),
        ([1, "b"], tuple[int, ...], r"^x\.1: .*'b'"),
        ({"a": "b"}, dict[str, float], r"^x\.a: .*'b'"),
        ([], dict[str, float], r"^x: .*\btable\b.*\[\]"),
        ("summ", Literal["sum", "mean"], r"^x: .*'sum'.*'mean'.*'summ'.*'sum'"),
        (True, Literal[1, 2], r"^x: .*\b1\b.*\b2\b.*\bTrue\b"),
        (None, str, r"^x: .*\bNone\b"),
        (2, str | None, r"^x: .*\b2\b"),
        (2.5, str | list[str], r"^x: .*\b2\.5\b"),
        (3, Relation, r"^x: .*\brelation\b.*\b3\b"),
        ("same('a'", Relation, r"^x: .*\brelation\b.*same\('a'"),
        ("a/b", Part, r"^x: .*\bpart\b.*'a/b'"),
        ({"use": 3}, Part, r"^x\.use: .*\b3\b"),
        (1, object, r"^x: .*\bobject\b"),
    ],
)  # fmt: skip
def test_conversion_is_strict_and_says_where(value: Any, hint: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        convert(value, hint, "x")


def test_a_wrong_value_that_can_not_be_shown_is_still_told_about() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value, said in ((16**5000, "not such a int"), (deep, "not such a list"), ("x" * 10_000, "xxx…")):
        with pytest.raises(SpecError, match=f"^x: .*{said}$") as caught:
            convert(value, bool, "x")
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, float, 3.0),
        ([1, 2.5], tuple[float, float], (1.0, 2.5)),
        (None, int | None, None),
        ("mean", Literal["sum", "mean"], "mean"),
        ({"same_as": "a"}, Part | SameAs, SameAs("a")),
        ({"use": "a/b", "x": 1}, Part | SameAs, Part("a/b", {"x": 1})),
        ({"v": {"use": "a/b"}}, Part | SameAs | dict[str, Part | SameAs] | None, {"v": Part("a/b")}),
        ('same("a")', Relation, same("a")),
    ],
)
def test_conversion_takes_what_fits(value: Any, hint: Any, expected: Any) -> None:
    found = convert(value, hint, "x")
    assert found == expected
    assert type(found) is type(expected)


def changed(place: str, value: Any) -> dict[str, Any]:
    """The rich spec with another value at a place; `...` takes it out."""
    data = data_of(rich)
    *path, last = [int(step) if step.isdigit() else step for step in place.split(".")]
    at: Any = data
    for step in path:
        at = at[step]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return data


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("contrasts.0.score.temprature", 0.1, r"^contrasts\.0\.score: core/cosine\b.*'temprature'.*'temperature'"),
        ("contrasts.0.score.temperature", "0.1", r"\bcontrasts\.0\.score\.temperature\b.*'0.1'"),
        ("contrasts.0.loss.positives", "outsid", r"\bcontrasts\.0\.loss\.positives\b.*'outside'"),
        ("contrasts.0.loss.use", "core/info-nec", r"^contrasts\.0\.loss: .*'core/info-nec'.*'core/info-nce'"),
        ("contrasts.0.loss.use", "core/cosine", r"\bcontrasts\.0\.loss\b.*\bscore\b"),
        ("contrasts.0.wieght", 1.0, r"^contrasts\.0\b.*'wieght'.*'weight'"),
        ("contrasts.0.query", ..., r"^contrasts\.0: 'query' is missing"),
        ("contrasts.0.positive", "sane('a')", r"^contrasts\.0\.positive\b.*'same'"),
        ("contrasts.0.query", "qeury", r"\bbranch 'qeury'.*'query'"),
        ("contrasts.0.memory", {"use": "core/queue"}, r"^contrasts\.0\b.*'memory'"),
        ("contrasts.0.keys.0.size", "4", r"^contrasts\.0\.keys\.0\.size: .*'4'"),
        ("contrasts.0.keys.0.sise", 4, r"^contrasts\.0\.keys\.0: core/queue\b.*'sise'.*'size'"),
        ("contrasts.0.keys.0", 3, r"^contrasts\.0\.keys\.0: .*\bkeys\b.*\b3\b"),
        ("contrasts.0.keys.0.use", "core/cosine", r"^contrasts\.0\.keys\.0\b.*\bscore\b"),
        ("contrasts.1.weight.final", "x", r"^contrasts\.1\.weight\.final: .*'x'"),
        ("contrasts.0.loss", {"use": "core/margin"}, r"^contrasts\.0\b.*\bMargin\b.*\bdistance\b"),
        ("branches.frozen.head.norm", "no", r"\bbranches\.frozen\.head\.norm\b.*'no'"),
        ("branches.frozen.head.depth", 0, r"\bbranches\.frozen\.head: core/mlp\b.*\bMLP\b.*\b1 layer\b"),
        ("branches.frozen.encoder.width", -1, r"branches\.frozen\.encoder: local/perceptron: RuntimeError: "),
        ("branches.frozen.encoder", ..., r"^branches\.frozen: .*\bone of\b.*\bencoder\b"),
        ("branches.frozen.encoder", "perceptron", r"^branches\.frozen\.encoder: expected .*(part|table)"),
        ("branches.key.tracks", "qury", r"\bbranch 'key'.*'qury'.*'query'"),
        ("branches.key.update.use", "core/no", r"\bbranches\.key\.update\b.*\bupdate\b.*'core/no'"),
        ("branches", [], r"^branches: .*\btable\b"),
        ("penalties.0.branch", 3, r"^penalties\.0\.branch: .*\b3\b"),
        ("penalties.0.loss.use", "core/info-nce", r"^penalties\.0: .*\bloss\b.*\bembeddings\b"),
        ("sampler", ..., "pipeline: 'sampler' is missing"),
        ("sampelr", {}, r"\bpipeline\b.*'sampelr'.*'sampler'"),
        ("branches.shared.encoder.same_as", "branches.qury.encoder", r"\.qury\.encoder\b.*'branches\.query\.encoder'"),
        ("branches.query.encoder", {"same_as": "branches.shared.encoder"}, r"^branches\.query\.encoder\b.*\.shared\b"),
        ("branches.query.encoder", {"same_as": "branches.query.encoder"}, r"^branches\.query\.encoder\b.*\.query\b"),
        ("branches.shared.head.same_as", "sampler", r"\bbranches\.shared\.head\b.*\bweights\b"),
        ("contrasts.1.keys.0.of.same_as", "branches.query.head", r"\bcontrasts\.1\.keys\.0\.of\b.*\bkeys\b"),
    ],
)  # fmt: skip
def test_an_error_names_the_place_and_the_nearest_right_word(place: str, value: Any, said: str) -> None:
    with pytest.raises(CrlError, match=said):
        assemble(changed(place, value))


def test_a_part_is_expected_where_a_part_belongs() -> None:
    for wrong in (3, "local/perceptron", [], {"width": 3}):
        with pytest.raises(SpecError, match=r"^e\.inner\b.*\bencoder\b"):
            part_from("encoder", {"use": "local/options", "inner": wrong}, "e")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"width": 1, "ratte": 2}, r".*'ratte'.*\bwidth, rate\b.*'rate'"),
        ({"rate": 0.5}, "'width' is missing"),
        ({"width": 1, "rate": 7}, ".*rate.* must be <= 1"),
        ({"width": 1.5}, r".*\b1\.5\b"),
        (3, r".*\btable\b.*\b3\b"),
    ],
)
def test_tables_of_options_are_as_strict_and_say_where(value: Any, said: str) -> None:
    with pytest.raises(SpecError, match=rf"^e\.either\.1(\.width)?: {said}"):
        part_from("encoder", {"use": "local/options", "either": [{"width": 2}, value]}, "e")


# -- no code --------------------------------------------------------------------------------------------------

CODE = [
    "os:system",
    "os.system",
    "trap:Trap",
    "trap.Trap",
    "trap",
    "crl_core.cli:main",
    "builtins:eval",
    "../trap",
    "core/../trap",
]


@pytest.fixture
def trap(site: Path) -> None:
    """A module that must not be imported, on the path."""
    write_module(site, "trap", "raise KeyboardInterrupt")


@pytest.mark.parametrize("use", CODE)
def test_a_spec_can_not_name_code(use: str, trap: None) -> None:
    for place in ("sampler", "branches.frozen.encoder", "contrasts.0.loss", "branches.key.update"):
        with pytest.raises(CrlError, match=f"^{place}: no .* named"):
            assemble(changed(place, {"use": use}))
    assert "trap" not in sys.modules


STRINGS = st.sampled_from(
    [*CODE, "", "a", "query", "core/cosine", "local/points", "auto", 'same("a")', "branches.query.encoder"]
)
WRONG = [None, True, 0, 1, -1, 3, 0.5, -0.5, float("nan"), float("inf"), 10**400, [], {}, ["a"], {"a": 1}]
VALUES = st.one_of(
    st.sampled_from(WRONG),
    STRINGS,
    st.text(max_size=5),
    STRINGS.map(lambda use: {"use": use}),
    STRINGS.map(lambda place: {"same_as": place}),
    st.lists(STRINGS, max_size=2),
)
BASE: list[dict[str, Any]] = []


def outcome(call: Callable[..., Any], argument: Any) -> Any:
    """What comes of it: a value, or an error in words. Any other exception is one too many."""
    try:
        return call(argument)
    except CrlError as error:
        return error


def places(data: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every way down into the data."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from places(inner, (*at, key))


def inside(data: Any, at: tuple[Any, ...]) -> Any:
    for step in at:
        data = data[step]
    return data


def mutate(data: dict[str, Any], draw: st.DataObject) -> None:
    everywhere = list(places(data))
    if not everywhere:
        return
    at = draw.draw(st.sampled_from(everywhere))
    holder, last = inside(data, at[:-1]), at[-1]
    how = draw.draw(st.sampled_from(["delete", "replace", "rename", "copy", "add"]))
    if how == "delete":
        del holder[last]
    elif how == "replace":
        holder[last] = copy.deepcopy(draw.draw(VALUES))
    elif how == "copy":
        holder[last] = copy.deepcopy(inside(data, draw.draw(st.sampled_from(everywhere))))
    elif isinstance(holder, dict):
        names = st.sampled_from(sorted({str(step) for place in everywhere for step in place})) | st.text(max_size=4)
        holder[draw.draw(names)] = holder.pop(last) if how == "rename" else copy.deepcopy(draw.draw(VALUES))
    else:
        holder.append(copy.deepcopy(draw.draw(VALUES)))


def test_any_wrong_value_at_any_place_is_a_pipeline_or_an_error_in_words(trap: None) -> None:
    good = data_of(rich)
    for at in places(good):
        for wrong in WRONG:
            data = copy.deepcopy(good)
            inside(data, at[:-1])[at[-1]] = wrong
            assert isinstance(outcome(assemble, data), (Pipeline, CrlError))


def modules_of(call: Callable[[], Any]) -> set[str]:
    """The packages that come in with a call."""
    before = set(sys.modules)
    call()
    return {name.partition(".")[0] for name in set(sys.modules) - before}


# What assembling may import: us, what we stand on, and Python. No plugin here has any other.
OURS = {
    "crl_core",
    "crl_vision",
    "crl_timm",
    "torch",
    "pluggy",
    "packaging",
    "_distutils_hack",
    *sys.stdlib_module_names,
}


def mutated(draw: st.DataObject, data: dict[str, Any]) -> dict[str, Any]:
    data = copy.deepcopy(data)
    for _ in range(draw.draw(st.integers(1, 3))):
        mutate(data, draw)
    return data


def check_a_mutated_spec(draw: st.DataObject) -> None:
    if not BASE:
        BASE.extend([data_of(rich), data_of(short)])
    data = mutated(draw, draw.draw(st.sampled_from(BASE)))
    found: list[Any] = []
    assert modules_of(lambda: found.append(outcome(assemble, data))) <= OURS
    assert isinstance(found[0], (Pipeline, CrlError))
    assert "trap" not in sys.modules


@settings(FUZZ, max_examples=500)
@given(st.data())
def test_any_mutation_of_a_spec_is_a_pipeline_or_an_error_in_words(trap: None, draw: st.DataObject) -> None:
    check_a_mutated_spec(draw)


@pytest.mark.slow
@settings(FUZZ, max_examples=5000)
@given(st.data())
def test_thousands_of_mutations_of_a_spec(trap: None, draw: st.DataObject) -> None:
    check_a_mutated_spec(draw)


def check_a_mutated_run(place: Path, draw: st.DataObject) -> None:
    """The spec of a run, from its file to its pipeline, source and training."""
    data = {
        "schema": spec.SCHEMA, "requires": {"crl-core": "0.1.0"}, "made_with": {"python": "3.11"},
        "source": {"use": "local/small-points", "count": 12}, "training": spec.plain(crl.Training()),
        "pipeline": BASE[1],
    }  # fmt: skip
    path = place / "spec.json"
    path.write_text(json.dumps(mutated(draw, data)))
    found: list[Any] = []
    assert modules_of(lambda: found.append(outcome(lambda at: folder.parts_of(folder.open_spec(at)), path))) <= OURS
    assert isinstance(found[0], (tuple, CrlError))
    assert "trap" not in sys.modules


@settings(FUZZ, max_examples=200)
@given(st.data())
def test_any_mutation_of_a_runs_spec_is_a_run_or_an_error_in_words(
    trap: None, tmp_path: Path, draw: st.DataObject
) -> None:
    BASE[:] = BASE or [data_of(rich), data_of(short)]
    check_a_mutated_run(tmp_path, draw)


@pytest.mark.slow
@settings(FUZZ, max_examples=5000)
@given(st.data())
def test_thousands_of_mutations_of_a_runs_spec(trap: None, tmp_path: Path, draw: st.DataObject) -> None:
    BASE[:] = BASE or [data_of(rich), data_of(short)]
    check_a_mutated_run(tmp_path, draw)


@settings(FUZZ, max_examples=300)
@given(
    st.recursive(
        VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    )
)
def test_any_data_at_all_are_no_pipeline(data: Any) -> None:
    with pytest.raises(CrlError):
        assemble(data if isinstance(data, dict) else {"branches": data})


RELATIONS = [
    'same("instance") & ~same("row")',
    'same("a") & (within("t", 2) | beyond("t", 10.5))',
    "~(same('x') | same('y'))",
]


@settings(FUZZ, max_examples=400)
@given(
    st.sampled_from(RELATIONS),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3), st.text(max_size=3)), max_size=4),
)
def test_a_mutated_relation_is_a_relation_or_an_error_in_words(text: str, cuts: list[tuple[int, int, str]]) -> None:
    for at, length, new in cuts:
        text = text[:at] + new + text[at + length :]
    found = outcome(parse, text)
    if not isinstance(found, RelationError):
        assert parse(str(found)) == found


# -- files that are broken ------------------------------------------------------------------------------------


def test_what_is_no_spec_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "broken.toml").write_text("a = 1\nb = = 2\n")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for name, said in {
        "spec.yaml": r"\.toml\b.*\.json\b",
        "missing.toml": "No such file",
        "list.json": r"\btable\b.*\blist\b",
        "broken.toml": "line 2",
        "deep.json": "recursion",
    }.items():
        with pytest.raises(SpecError, match=said):
            spec.read(tmp_path / name)


def mangled(good: bytes) -> st.SearchStrategy[bytes]:
    """`good` with some bytes changed, or cut short; or any bytes."""
    change = st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255))

    def apply(changes: list[tuple[int, int]], length: int) -> bytes:
        found = bytearray(good)
        for at, value in changes:
            found[at] = value
        return bytes(found[:length])

    ends = st.just(len(good)) | st.integers(0, len(good))
    return st.builds(apply, st.lists(change, max_size=4), ends) | st.binary(max_size=64)


TEXT = {
    "toml": b'schema = 1\n[a]\nb = [1, 2.5, true, "x"]\nc = 2020-01-02T03:04:05Z\n[[d.e]]\nf = 0xff\n"g h" = \'i\'\n',
    "json": b'{"schema": 1, "a": {"b": [1, 2.5e3, true, null, "x\\u00e4"]}}',
}


@pytest.mark.parametrize("ending", TEXT)
@settings(FUZZ, max_examples=300)
@given(data=st.data())
def test_reading_any_bytes_as_a_spec_is_a_table_or_an_error_in_words(
    tmp_path: Path, ending: str, data: st.DataObject
) -> None:
    path = tmp_path / f"spec.{ending}"
    path.write_bytes(data.draw(mangled(TEXT[ending])))
    found = outcome(spec.read, path)
    assert isinstance(found, (dict, SpecError))
    assert isinstance(found, dict) or str(path) in str(found)


@settings(FUZZ, max_examples=300)
@given(data=st.data())
def test_reading_any_bytes_as_a_checkpoint_is_an_error_in_words(tmp_path: Path, data: st.DataObject) -> None:
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    if not good.exists():
        checkpoint.save({"step": 3, "state": {0: torch.arange(3), "x": [1.5, "y", None]}}, good)
    bad.write_bytes(data.draw(mangled(good.read_bytes())))
    found = outcome(checkpoint.load, bad)
    assert not isinstance(found, CrlError) or str(bad) in str(found)


@pytest.mark.parametrize(
    "tree",
    [
        "", "null", "[]", "3", "{}", '{"tensor": "missing"}', '{"tensor": []}', '{"dict": 3}', '{"dict": [[1]]}',
        '{"dict": [[[], {"value": 1}]]}', '{"list": {"a": 1}}', '{"list": [null]}', '{"a": 1, "b": 2}',
        '{"list": ["text"]}', '{"list": null}', "[" * 5000, '{"list":[' * 3000,
    ],
)  # fmt: skip
def test_a_checkpoint_with_a_wrong_header_is_an_error_in_words(tmp_path: Path, tree: str) -> None:
    path = tmp_path / "wrong.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"crl": tree})
    with pytest.raises(CrlError, match=r"\bcheckpoint\b"):
        checkpoint.load(path)


def with_mutated_header(good: bytes, draw: st.DataObject) -> bytes:
    """A safetensors file whose header says something else: names, types, shapes, places, crl's own tree."""
    length = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + length])
    tree = json.loads(header.get("__metadata__", {}).get("crl", "null"))
    if tree is not None and draw.draw(st.booleans()):
        header["__metadata__"]["crl"] = json.dumps(mutated(draw, tree))
    else:
        header = mutated(draw, header)
    text = json.dumps(header).encode()
    length = draw.draw(st.just(len(text)) | st.integers(0, 2**64 - 1))
    return length.to_bytes(8, "little") + text + good[8 + int.from_bytes(good[:8], "little") :]


def check_a_mutated_checkpoint(place: Path, draw: st.DataObject) -> None:
    good, bad = place / "good.safetensors", place / "bad.safetensors"
    if not good.exists():
        state = {"step": 3, "state": {0: torch.arange(3), "x": [1.5, "y", None, torch.randn(2, 2)]}}
        checkpoint.save(state, good)
    bad.write_bytes(with_mutated_header(good.read_bytes(), draw))
    found = outcome(checkpoint.load, bad)
    assert not isinstance(found, CrlError) or str(bad) in str(found)


def check_mutated_weights(place: Path, draw: st.DataObject) -> None:
    """A saved pipeline with other weights than its own: it is loaded, or an error in words."""
    good = place / "good" / export.WEIGHTS
    if not good.exists():
        good.parent.mkdir()
        save_file({name: tensor for name, tensor in built().state_dict().items() if tensor.numel()}, good)
        spec.write({"schema": spec.SCHEMA, "pipeline": BASE[1]}, place / "spec.toml")
    (place / export.WEIGHTS).write_bytes(with_mutated_header(good.read_bytes(), draw))
    found: list[Any] = []
    assert modules_of(lambda: found.append(outcome(export.load, place))) <= OURS
    assert isinstance(found[0], (Pipeline, CrlError))


def built() -> Pipeline:
    BASE[:] = BASE or [data_of(rich), data_of(short)]
    return short().build(View(torch.randn(4, 5), {"instance": torch.arange(4)}))


@settings(FUZZ, max_examples=300)
@given(draw=st.data())
def test_any_header_of_a_checkpoint_is_a_state_or_an_error_in_words(tmp_path: Path, draw: st.DataObject) -> None:
    check_a_mutated_checkpoint(tmp_path, draw)


@settings(FUZZ, max_examples=200)
@given(draw=st.data())
def test_any_header_of_weights_is_a_pipeline_or_an_error_in_words(tmp_path: Path, draw: st.DataObject) -> None:
    check_mutated_weights(tmp_path, draw)


@pytest.mark.slow
@settings(FUZZ, max_examples=4000)
@given(draw=st.data())
def test_thousands_of_headers_of_checkpoints(tmp_path: Path, draw: st.DataObject) -> None:
    check_a_mutated_checkpoint(tmp_path, draw)


@pytest.mark.slow
@settings(FUZZ, max_examples=2000)
@given(draw=st.data())
def test_thousands_of_headers_of_weights(tmp_path: Path, draw: st.DataObject) -> None:
    check_mutated_weights(tmp_path, draw)


@settings(FUZZ, max_examples=200)
@given(data=st.data())
def test_reading_any_bytes_as_weights_is_an_error_in_words(tmp_path: Path, data: st.DataObject) -> None:
    good = tmp_path / "good.safetensors"
    if not good.exists():
        save_file({"a.weight": torch.randn(2, 3), "b": torch.arange(2)}, good)
    (tmp_path / export.WEIGHTS).write_bytes(data.draw(mangled(good.read_bytes())))
    found = outcome(lambda path: export._weights(path, short()), tmp_path)
    if isinstance(found, CrlError):
        assert export.WEIGHTS in str(found)
    else:
        assert all(isinstance(tensor, Tensor) for tensor in found.values())


@pytest.mark.parametrize("state", [{}, {"pipeline": 3}, [1], {"pipeline": {"a": "text"}}])
def test_a_checkpoint_without_weights_is_an_error_in_words(tmp_path: Path, state: Any) -> None:
    spec.write({"schema": spec.SCHEMA, "pipeline": data_of(short)}, tmp_path / "spec.toml")
    checkpoint.save(state, tmp_path / "checkpoint.safetensors")
    with pytest.raises(CrlError):
        export.load(tmp_path)
