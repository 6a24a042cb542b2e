"""The core's own parts keep the contracts that the kit checks; and the kit catches who doesn't."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small import Points, points
from synthetic import LOSS, distribution, forget, fresh_registry, write_module
from test_evaluators_of_pipelines import Blobs, pipeline

import crl_core as crl
from crl_core.cli import main
from crl_core.registry import KINDS
from crl_core.testing import conformance
from crl_core.testing.checks import CHECKS, MINIMUM
from crl_core.testing.checks.losses import two_processes_are_one
from crl_core.testing.importing import Imported
from crl_core.testing.outcome import Outcome, Skips
from crl_core.testing.plugin import Case, Plugin
from crl_core.testing.run import Session, passes, promise
from crl_core.testing.workers import Worked

pytest_plugins = ["pytester"]

OPTIONS = {
    "core/bank": {"size": 400},
    "core/by-column": lambda: {"source": Points(), "groups": 2},
    "core/clustered-bank": {"size": 400},
    "core/contiguous": lambda: {"source": Points()},
    "core/drawn": {"count": 3},
    "core/mixed": lambda: {"sources": {"here": Points(), "there": Points(20)}},
    "core/prototypes": {"clusters": 3},
    "core/proximal": lambda: {"loss": crl.InfoNCE()},
    "core/scheduled": {"start": 0.5, "final": 0.1},
    "core/swapped-assignment": {"prototypes": 6, "width": 8},
    "core/table": {"count": 24, "size": 6, "normalise": "always"},
    "core/unit": lambda: {"head": crl.Linear(8)},
}

OF_ONE_SOURCE = "items are numbered over all sources, and those that are asked for together are of one"

EXPECTED = {
    **{
        ("core/mixed", check): OF_ONE_SOURCE
        for check in ("instance_is_the_index", "same_items_every_time", "any_order")
    },
    ("core/nwj", "finite_at_low_temperature"): "the bound has exp(s - 1) in it, without a logarithm",
    ("core/rince", "finite_at_low_temperature"): "the loss has exp(q s) in it, without a logarithm",
    ("core/swapped-assignment", "gradient_is_right"): "the assignment has no gradient, as in the paper",
    ("core/whitening", "compiles_without_breaks"): "it looks whether the covariance could be factorised",
}


def judged() -> tuple[Any, ...]:
    """What an evaluator of pipelines is asked of."""
    return pipeline(), Blobs(), "test"


def numbers() -> crl.View:
    """Rows of a table of 24."""
    return crl.View(torch.arange(8) * 3, {"instance": torch.arange(8)})


EXAMPLES = {
    "core/table": numbers,
    **{f"core/{name}": judged for name in ("few-labels", "augmented-linear", "score-knn")},
}

test_conformance = conformance("crl-core", options=OPTIONS, examples=EXAMPLES, expected_failures=EXPECTED)

# -- the kit itself -------------------------------------------------------------------------------------------

NUMBERS = {"gradient_is_right", "every_kernel_agrees", "two_processes_are_one", "works_in_bfloat16"}

# Every wrong part, with the check that has to catch it; and those that may fail along with it.
WRONG: dict[tuple[str, str], tuple[str, set[str]]] = {
    ("loss", "Overflows"): ("finite_at_low_temperature", {"works_in_bfloat16", "every_kernel_agrees"}),
    ("loss", "MixesRows"): ("rows_depend_on_nothing_else", NUMBERS),
    ("loss", "WrongGradient"): ("gradient_is_right", set()),
    ("loss", "Detached"): ("gradient_is_right", {*NUMBERS, "no_rows", "prefers_close_positives"}),
    ("loss", "WrongSign"): ("prefers_close_positives", set()),
    ("loss", "OwnStatistics"): ("two_processes_are_one", set()),
    ("loss", "Unannotated"): (
        "options_are_named_and_annotated",
        {"options_are_data", "keeps_its_options", "spec_round_trip", "takes_no_source"},
    ),
    ("loss", "OtherName"): ("keeps_its_options", {"spec_round_trip"}),
    ("encoder", "BatchStatistics"): ("rows_alone_in_evaluation", {"one_row"}),
    ("encoder", "DeadWeight"): ("trains", set()),
    ("encoder", "LosesState"): ("state_through_safetensors", set()),
    ("encoder", "Breaks"): ("compiles_without_breaks", set()),
    ("head", "TakesACallable"): ("options_are_data", {"spec_round_trip"}),
    ("head", "HoldsALambda"): ("arrives_in_a_worker", set()),
    ("sampler", "LosesInstance"): ("metadata_are_complete", {"every_row_finds_its_other_view"}),
    ("sampler", "OneDrawForAll"): ("rows_are_drawn_by_themselves", set()),
    ("sampler", "MixesItems"): ("rows_depend_on_nothing_else", set()),
    ("sampler", "SeedsTorch"): ("leaves_the_generators_alone", set()),
    ("sampler", "DrawsFromPython"): (
        "deterministic_under_a_seed", {"leaves_the_generators_alone", "rows_depend_on_nothing_else"},
    ),
    ("sampler", "IgnoresTheDevice"): ("makes_tensors_where_its_data_are", set()),
    ("sampler", "WritesIntoItsInput"): ("leaves_its_inputs_alone", set()),
    ("score", "LowerIsCloser"): ("higher_means_closer", set()),
    ("score", "WrongFactors"): ("factors_give_the_score", set()),
    ("score", "NotSymmetric"): ("symmetric_as_it_says", set()),
    ("score", "OneLayout"): ("keys_per_query_agree", set()),
    ("keys", "ForgetsMetadata"): ("keeps_the_metadata", {"works_in_a_contrast"}),
    ("keys", "WrongMetadata"): ("holds_what_it_took", set()),
    ("keys", "ForgetsItsState"): ("state_through_safetensors", set()),
    ("keys", "KeepsTheGraph"): ("holds_no_gradient", {"owns_what_it_holds", "state_through_safetensors"}),
    ("keys", "MakesUpKeys"): ("chooses_among_the_candidates", set()),
    ("keys", "LosesThePositive"): ("keeps_a_positive", {"works_in_a_contrast"}),
    ("keys", "IsNoNumber"): ("works_in_a_contrast", {"takes_any_batch"}),
    ("head", "TakesASource"): ("takes_no_source", {"spec_round_trip"}),
    ("score", "ForgetsItsOldWords"): ("reads_old_specs", set()),
    ("sampler", "CleansUnknownViews"): ("draws_the_views_it_names", set()),
    ("sampler", "CleansAtRandom"): ("clean_is_not_random", set()),
    ("update", "LetsGradientThrough"): ("lets_no_gradient_through", set()),
    ("update", "MovesAway"): ("advances_towards_the_followed", {"works_in_a_branch"}),
    ("update", "ChangesTheFollowed"): ("leaves_the_followed_alone", {"advances_towards_the_followed"}),
    ("source", "Shuffled"): ("instance_is_the_index", set()),
    ("source", "TakesAnySplit"): ("refuses_other_splits", set()),
    ("source", "LosesItsPlace"): ("a_stream_goes_on_from_any_place", set()),
    ("source", "SharesNothing"): ("processes_share_a_stream", set()),
    ("optimiser", "KeepsItsAverageElsewhere"): ("goes_on_from_its_state", set()),
    ("optimiser", "DecaysAll"): ("decays_no_vectors", set()),
    ("optimiser", "MovesWholeTables"): ("takes_sparse_gradients_as_it_says", set()),
    ("optimiser", "StandsStill"): ("moves_every_weight", {"lowers_a_loss"}),
    ("schedule", "FallsBelowZero"): ("gives_numbers", set()),
    ("reader", "NumbersByLength"): ("instance_is_the_place", set()),
    ("reader", "PadsToTheLongest"): ("rows_are_their_own", set()),
    ("reader", "LeavesOutTheShort"): ("gives_a_view", {"instance_is_the_place", "rows_are_their_own"}),
    ("schedule", "CountsItsCalls"): ("depends_on_the_moment_alone", set()),
    ("evaluator", "LooksAtMore"): ("looks_at_the_tables_it_names", set()),
    ("kernel", "TwiceTheGradient"): ("agrees_with_the_oracle", {"agrees_in_float32", "scales_with_what_follows"}),
}  # fmt: skip
GOOD = [
    ("loss", "Good"), ("source", "GoodPoints"), ("source", "GoodStream"), ("sampler", "CleansBothViews"),
    ("encoder", "CountsItems"),
]  # fmt: skip


def address(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def targets(module: str, parts: Iterable[tuple[str, str]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for kind, name in parts:
        found.setdefault(f"crl.{kind}", {})[address(name)] = f"{module}:{name}"
    return found


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], dict[str, Outcome]]]:
    """What the kit says of each wrong part: all in one distribution, so that the processes start once."""
    site = tmp_path_factory.mktemp("site")
    distribution(site, "crl-wrong", targets("wrong_parts", [*WRONG, *GOOD]))
    with fresh_registry(site):
        session = Session(Plugin("crl-wrong", {}, {}, {}))
        found: dict[tuple[str, str], dict[str, Outcome]] = {}
        for outcome in session.outcomes()[:-1]:
            found.setdefault((outcome.part.kind, outcome.part.name), {})[outcome.check] = outcome
        yield found


@pytest.mark.parametrize("part", WRONG, ids=lambda part: part[1])
def test_a_wrong_part_is_caught_by_the_right_check(
    part: tuple[str, str], wrong: dict[tuple[str, str], dict[str, Outcome]]
) -> None:
    check, others = WRONG[part]
    outcomes = wrong[part[0], address(part[1])]
    failed = {name for name, outcome in outcomes.items() if outcome.state == "failed"}
    assert check in failed, outcomes[check]
    assert failed <= {check, *others}, {name: outcomes[name].text for name in failed}
    assert outcomes[check].text.startswith(f"{part[0]} wrong/{address(part[1])}: {check}: ")


@pytest.mark.parametrize("part", GOOD, ids=lambda part: part[1])
def test_a_good_part_among_wrong_ones_passes(
    part: tuple[str, str], wrong: dict[tuple[str, str], dict[str, Outcome]]
) -> None:
    assert {o.check: o.text for o in wrong[part[0], address(part[1])].values() if o.state == "failed"} == {}


CAUGHT_AT_THE_IMPORT = ("loads", "importing_changes_nothing", "package_is_light")


def test_what_a_module_does_at_its_import_is_seen(tmp_path: Path) -> None:
    modules = {
        "rude.__init__": "import torch\n",
        "rude.dtype": f"import torch\ntorch.set_default_dtype(torch.float64)\n{LOSS}",
        "rude.seeds": f"import random, sys, warnings\nrandom.seed(0); sys.path.append('x')\n{LOSS}",
        "rude.exits": "raise SystemExit(3)",
        "rude.dies": "import os\nos._exit(3)",
        "rude.fine": f"import sklearn.linear_model\n{LOSS}",  # which adds a filter of warnings, and isn't the plugin's
    }
    points = {name: f"rude.{name}:Loss" for name in ("dtype", "seeds", "exits", "dies", "fine")}
    distribution(tmp_path, "crl-rude", {"crl.loss": points}, modules=modules)
    with fresh_registry(tmp_path):
        session = Session(Plugin("crl-rude", {}, {}, {}))
        tasks = [task for task in session.tasks() if task.id.partition(":")[2] in CAUGHT_AT_THE_IMPORT]
        said = {task.id.removeprefix("loss/"): session.outcome(task).text for task in tasks}
    assert "default dtype" in said["dtype:importing_changes_nothing"]
    assert "random numbers, sys.path" in said["seeds:importing_changes_nothing"]
    assert "SystemExit: 3" in said["exits:loads"]
    assert "process" in said["dies:loads"]
    assert said["fine:loads"] == said["fine:importing_changes_nothing"] == ""
    assert re.search(r"`import rude`.*\btorch\b.*\b__init__\.py\b", said["fine:package_is_light"])
    assert torch.get_default_dtype() == torch.float32, "it was done in a process of its own"


def session(site: Path, parts: Mapping[str, Mapping[str, str]], **said: Any) -> Session:
    """A session with a distribution of these parts, in a registry that knows it."""
    distribution(site, "crl-acme", parts)
    forget()
    given = {"options": {}, "examples": {}, "expected_failures": {}, **said}
    return Session(Plugin("crl-acme", **given))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    with fresh_registry(tmp_path):
        yield tmp_path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No processes: imports and journeys to workers are taken to have gone well."""
    monkeypatch.setattr("crl_core.testing.plugin.import_all", lambda all: dict.fromkeys(all, Imported(None, [], False)))
    monkeypatch.setattr("crl_core.testing.plugin.work", lambda all: dict.fromkeys(all, Worked()))
    monkeypatch.setitem(CHECKS, "loss", tuple(check for check in CHECKS["loss"] if check is not two_processes_are_one))


ONE_LOSS = {"crl.loss": {"good": "wrong_parts:Good"}}
ONE_SAMPLER = {"crl.sampler": {"noisy": "small:Noisy"}}


def test_advertising_nothing_is_a_failure(site: Path) -> None:
    found = session(site, {"console_scripts": {"acme": "acme:main"}})
    (counted,) = found.outcomes()
    assert counted.state == "failed"
    assert counted.text.startswith("crl-acme ")
    assert "Run: crl doctor crl-acme" in counted.text


@pytest.mark.usefixtures("quick")
def test_too_few_checks_are_a_failure(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def needs_more(case: Case) -> None:
        """It has what a check needs."""
        raise Skips("no such device")

    monkeypatch.setitem(CHECKS, "loss", (needs_more, *CHECKS["loss"][:3]))
    *outcomes, counted = session(site, ONE_LOSS).outcomes()
    assert [outcome.state for outcome in outcomes] == ["skipped", "passed", "passed", "passed"]
    assert re.search(r"\bloss acme/good\b.*\b3\b", counted.text)
    assert "needs_more: no such device" in counted.text


def test_a_part_that_does_not_load_is_told_once_and_counted(site: Path) -> None:
    *outcomes, counted = session(site, {"crl.loss": {"gone": "no_such_module:Loss"}}).outcomes()
    assert [outcome.check for outcome in outcomes if outcome.state == "failed"] == ["loads"]
    assert "ModuleNotFoundError: No module named 'no_such_module'" in outcomes[0].text
    assert "only 3 checks ran" in counted.text


@pytest.mark.usefixtures("quick")
def test_without_data_the_text_says_how_to_give_some(site: Path) -> None:
    found = {outcome.check: outcome for outcome in session(site, ONE_SAMPLER).outcomes()}
    assert found["metadata_are_complete"].state == "failed"
    assert "examples={'acme/noisy': make_batch}" in found["metadata_are_complete"].text


@pytest.mark.parametrize("name", ["acme/noisy", "sampler acme/noisy"])
@pytest.mark.usefixtures("quick")
def test_examples_are_taken(site: Path, name: str) -> None:
    outcomes = session(site, ONE_SAMPLER, examples={name: lambda: points(8)}).outcomes()
    assert [outcome.text for outcome in outcomes if outcome.state == "failed"] == []


@pytest.mark.usefixtures("quick")
def test_the_distributions_own_source_gives_data(site: Path) -> None:
    outcomes = session(site, {**ONE_SAMPLER, "crl.source": {"points": "wrong_parts:GoodPoints"}}).outcomes()
    assert [outcome.text for outcome in outcomes if outcome.state == "failed"] == []


@pytest.mark.usefixtures("quick")
def test_options_without_a_default_are_asked_for_and_taken(site: Path) -> None:
    parts = {"crl.keys": {"prototypes": "crl_core.parts.keys.prototypes:Prototypes"}}
    asked = [outcome for outcome in session(site, parts).outcomes() if outcome.check == "empty_at_first"]
    assert "options={'acme/prototypes': {…}}" in asked[0].text
    plugin = Plugin("crl-acme", {"acme/prototypes": lambda: {"clusters": 3}}, {}, {})
    assert {o.check: o.text for o in Session(plugin).outcomes() if o.state == "failed"} == {}


@pytest.mark.usefixtures("quick")
def test_what_is_handed_a_source_gets_one(site: Path) -> None:
    """The one that its author gives as an example; without any, the text says how."""
    parts = {"crl.encoder": {"counts": "wrong_parts:CountsItems"}}
    said = {outcome.check: outcome.text for outcome in session(site, parts).outcomes()}
    assert re.search(r"\bon_source\b.*\bcrl-acme\b", said["trains"])
    assert "examples={'acme/counts': make_source}" in said["trains"]
    outcomes = Session(Plugin("crl-acme", {}, {"acme/counts": lambda: Points(32)}, {})).outcomes()
    assert [outcome.text for outcome in outcomes if outcome.state == "failed"] == []


@pytest.mark.usefixtures("quick")
def test_raw_items_are_asked_for_and_taken(site: Path) -> None:
    parts = {"crl.reader": {"points": "wrong_parts:ReadsPoints"}}
    said = {outcome.check: outcome.text for outcome in session(site, parts).outcomes()}
    assert "texts" in said["gives_a_view"]
    assert "examples={'acme/points': make_items}" in said["gives_a_view"]
    given = {"acme/points": lambda: [[float(i), 1.0] for i in range(6)]}
    outcomes = Session(Plugin("crl-acme", {}, given, {})).outcomes()
    assert [outcome.text for outcome in outcomes if outcome.state == "failed"] == []


@pytest.mark.usefixtures("quick")
def test_the_old_group_of_memories_is_checked_as_keys(site: Path) -> None:
    outcomes = session(site, {"crl.memory": {"queue": "crl_core.parts.keys.queue:Queue"}}).outcomes()
    assert {outcome.part.kind for outcome in outcomes[:-1]} == {"keys"}
    assert [outcome.text for outcome in outcomes if outcome.state == "failed"] == []


@pytest.mark.parametrize("key", ["trains", ("acme/dead", "trains"), ("encoder acme/dead", "trains")])
@pytest.mark.usefixtures("quick")
def test_an_expected_failure_is_none(site: Path, key: Any) -> None:
    parts = {"crl.encoder": {"dead": "wrong_parts:DeadWeight"}}
    found = session(site, parts, examples={"acme/dead": lambda: points(8)}, expected_failures={key: "known"})
    outcomes = {outcome.check: outcome for outcome in found.outcomes()}
    assert (outcomes["trains"].state, outcomes["trains"].text) == ("expected", "known")
    assert passes(found)


@pytest.mark.usefixtures("quick")
def test_an_expected_failure_that_does_not_come_is_one(site: Path) -> None:
    found = session(site, ONE_LOSS, expected_failures={("acme/good", "one_row"): "once it did"})
    outcomes = {outcome.check: outcome for outcome in found.outcomes()}
    assert outcomes["one_row"].state == "failed"
    assert "once it did" in outcomes["one_row"].text, "the reason that was given"


@pytest.mark.usefixtures("quick")
def test_names_that_nobody_has_are_told(site: Path) -> None:
    said = {
        "options": {"acme/goood": {}},
        "examples": {"acme/other": points},
        "expected_failures": {("acme/good", "one_rwo"): "x"},
    }
    counted = session(site, ONE_LOSS, **said).outcomes()[-1]
    for told in ("'acme/goood'", "Did you mean 'acme/good'", "'acme/other'", "'one_rwo'", "Did you mean 'one_row'"):
        assert told in counted.text


@pytest.mark.usefixtures("quick")
def test_checks_have_no_network(site: Path) -> None:
    source = """
        import urllib.request

        class Source:
            splits = ("train",)

            def items(self, split: str):
                return urllib.request.urlopen("http://example.invalid")
    """
    write_module(site, "acme_remote", source)
    outcomes = {o.check: o for o in session(site, {"crl.source": {"remote": "acme_remote:Source"}}).outcomes()}
    assert "network" in outcomes["instance_is_the_index"].text
    assert "only" in outcomes["counts"].text


def test_every_check_promises_something_in_one_line() -> None:
    for kind, checks in CHECKS.items():
        names = [check.__name__ for check in checks]
        assert len(set(names)) == len(names)
        assert all(promise(check).endswith(".") for check in checks), kind
        assert MINIMUM[kind] <= len(checks)
    assert set(CHECKS) == set(MINIMUM) == set(KINDS)


@pytest.mark.usefixtures("quick")
def test_the_function_for_pytest_has_a_test_for_every_part_and_check(
    site: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(site, "crl-acme", {"crl.encoder": {"dead": "wrong_parts:DeadWeight"}})
    forget()
    # pytester forgets what a run imports, and torch's compiler can't be imported twice.
    monkeypatch.setattr("_pytest.pytester.SysModulesSnapshot.restore", lambda self: None)
    pytester.makepyfile(
        """
        from small import points
        from crl_core.testing import conformance

        test_conformance = conformance("crl-acme", examples={"acme/dead": lambda: points(8)})
        """
    )
    result = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=len(CHECKS["encoder"]) - 1, failed=1, skipped=1)  # it has no old names
    result.stdout.fnmatch_lines(["*no gradient reaches unused*", "FAILED *encoder/dead:trains*"])


# -- crl test -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_the_command_prints_a_table_and_what_failed(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    distribution(site, "crl-acme", {"crl.update": {"away": "wrong_parts:MovesAway", "past": "crl_core:Momentum"}})
    forget()
    assert main(["test", "crl-acme", "--only", "update"]) == 1
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0].split() == ["update", "away", "past"]
    assert [line.split() for line in lines if line.startswith("advances")] == [
        ["advances_towards_the_followed", "✗", "✓"]
    ]
    assert "✗ update acme/away: advances_towards_the_followed: " in printed
    assert "crl-acme: 2 parts, " in lines[-1]


@pytest.mark.usefixtures("quick")
def test_the_command_writes_json(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    distribution(site, "crl-acme", {"crl.update": {"past": "crl_core.parts.updates.past:Past"}})
    forget()
    assert main(["test", "crl-acme", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passes"] is True
    assert len(found["outcomes"]) == len(CHECKS["update"])
    assert found["count"] == {"passed": len(CHECKS["update"]) - 1, "failed": 0, "skipped": 1, "expected": 0}
    (skipped,) = (outcome for outcome in found["outcomes"] if outcome["state"] == "skipped")
    assert skipped["check"] == "reads_old_specs"
    assert {"kind": "update", "address": "acme/past", "check": "loads", "state": "passed", "text": ""} in found[
        "outcomes"
    ]


@pytest.mark.usefixtures("quick")
def test_the_command_takes_examples_from_a_file_of_tests(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    distribution(site, "crl-acme", ONE_SAMPLER)
    forget()
    file = site / "their_tests.py"
    file.write_text(
        "from small import points\nfrom crl_core.testing import conformance\n"
        "test_conformance = conformance('crl-acme', examples={'acme/noisy': lambda: points(8)})\n"
    )
    assert main(["test", "crl-acme", "--examples", str(file)]) == 0
    assert main(["test", "crl-other", "--examples", str(file)]) == 1
    assert "has no test = conformance('crl-other', …)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["crl-acme", "--only", "updat"], "'updat'.*'update'"),
        (["crl-acme", "--examples", "nowhere.py"], r"\bnowhere\.py\b"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_the_command_says_what_is_wrong_with_a_call(
    site: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    distribution(site, "crl-acme", {"crl.update": {"past": "crl_core.parts.updates.past:Past"}})
    forget()
    assert main(["test", *arguments]) == 1
    assert re.search(told, capsys.readouterr().err)
