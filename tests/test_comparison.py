"""Two methods side by side, and a name for what a spec says."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

import crl_core as crl
from crl_core import describe, diff, digest
from crl_core.cli import main
from crl_core.spec import spec


def test_a_pipeline_does_not_differ_from_itself() -> None:
    found = diff(small.moco(), describe(small.moco()))
    assert not found
    assert str(found) == "no difference"


def test_each_place_is_a_line_with_both_values() -> None:
    one = describe(small.simclr())
    data = spec.plain(one)
    data["contrasts"][0]["score"]["temperature"] = 0.5
    data["branches"]["query"]["head"] = {"use": "core/linear", "size": 4}
    del data["branches"]["query"]["view"]
    data["contrasts"].append({"query": "query", "loss": {"same_as": "contrasts.0.loss"}})
    assert str(diff(one, data)).splitlines() == [
        "branches.query.view: ['a', 'b'] → nothing",
        "branches.query.head: core/mlp(size=6, depth=2, norm=True, final_norm=False) → core/linear(size=4)",
        "contrasts.0.score.temperature: 0.2 → 0.5",
        "contrasts.1: nothing → {query=query, loss=same as contrasts.0.loss}",
    ]
    assert diff(data, one)[2] == ("contrasts.0.score.temperature", 0.5, 0.2)


def test_true_is_not_one_and_one_is_one_point_nought() -> None:
    assert [change.place for change in diff({"a": True, "b": 1}, {"a": 1, "b": 1.0})] == ["a"]


# -- a name for what a spec says ------------------------------------------------------------------------------


def reordered(data: Any) -> Any:
    """The same data with the keys of every table the other way round."""
    if isinstance(data, dict):
        return {name: reordered(data[name]) for name in reversed(data)}
    return [reordered(item) for item in data] if isinstance(data, list) else data


def test_a_digest_is_that_of_what_is_said_and_not_of_how_it_is_written(tmp_path: Path) -> None:
    description = describe(small.moco())
    expected = digest(description)
    assert len(expected) == 64
    data = spec.plain(description)
    assert digest(data) == digest(reordered(data)) == expected
    for ending in ("toml", "json"):
        spec.write(data, tmp_path / f"spec.{ending}")
        assert digest(spec.read(tmp_path / f"spec.{ending}")) == expected
    assert digest({"weight": 1, "norm": None}) == digest({"weight": 1.0})
    assert digest({"norm": True}) != digest({"norm": 1})


def test_a_digest_stays_what_it_was() -> None:
    data = {"b": [1, 2.5, True, "ä"], "a": {"use": "core/cosine", "temperature": 1.0}}
    assert digest(data) == "0c349b4dd125e40092fff52f8e745a919e51892652756a4c76b6e3c1bdc6f39d"


def test_specs_can_be_keys() -> None:
    runs = {describe(small.simclr()): "simclr", describe(small.moco()): "moco"}
    assert runs[describe(small.moco())] == "moco"
    assert len({describe(small.simclr()) for _ in range(3)}) == 1


@settings(derandomize=True, deadline=None, database=None, max_examples=200)
@given(st.data())
def test_specs_differ_exactly_where_their_digests_do(draw: st.DataObject) -> None:
    one = spec.plain(describe(small.simclr()))
    other = copy.deepcopy(one)
    place = draw.draw(
        st.sampled_from([("contrasts", 0, "score", "temperature"), ("branches", "query", "head", "size")])
    )
    at: Any = other
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = draw.draw(st.sampled_from([0.2, 6, 6.0, 0.25, True, 1, None, "6"]))
    assert bool(diff(one, other)) == (digest(one) != digest(other))


# -- the command ----------------------------------------------------------------------------------------------


def test_the_command_compares_recipes_files_and_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("crl_vision")
    assert main(["diff", "simclr", "vision/simclr"]) == 0
    assert capsys.readouterr().out == "no difference\n"
    assert main(["diff", "simclr", "simclr", "--set", "temperature=0.1", "--set", "epochs=3"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("training.epochs: ")
    assert lines[1] == "pipeline.contrasts.0.score.temperature: 0.5 → 0.1"
    assert main(["diff", "simclr", "simclr", "--set", "temperature=0.1", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == [
        {"place": "pipeline.contrasts.0.score.temperature", "one": 0.5, "other": 0.1}
    ]
    from crl_core.engine import folder

    recipe = crl.recipe("simclr")
    spec.write(folder.spec_of(recipe.pipeline, recipe.source, recipe.training), tmp_path / folder.SPEC)
    assert main(["diff", str(tmp_path), "simclr"]) == 0
    assert main(["diff", str(tmp_path / folder.SPEC), "simcl"]) == 2, "1 is for a difference"
    assert "Did you mean 'simclr'" in capsys.readouterr().err


def test_only_what_has_a_spec_can_be_compared() -> None:
    class Unregistered(small.Perceptron):
        pass

    pipeline = crl.Pipeline(small.Noisy(), encoder=Unregistered(), loss="info-nce")
    with pytest.raises(crl.CrlError, match=r"\bregistered\b.*\bencoder\b"):
        diff(pipeline, pipeline)
