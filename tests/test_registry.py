"""Parts come in by being installed: found by metadata, checked, and imported when somebody asks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from synthetic import LOSS, distribution, forget, fresh_registry
from torch import nn

import crl_core as crl
from crl_core import CrlError, Embeddings, InfoNCE, Pairs, same
from crl_core.contracts.kernels import Problem
from crl_core.engine.folder import open_spec, refuse_local
from crl_core.errors import SpecError
from crl_core.registry import KINDS, Known, PluginError, address_of, find, get, known, load, make, register
from crl_core.registry.kernels import choose_kernel, rank
from crl_core.registry.options import signature
from crl_core.registry.plugins import namespace_of
from crl_core.spec.assembly import describe
from crl_core.spec.spec import plain, write


def advertised() -> list[Known]:
    """What is installed, without what other tests have registered in this process."""
    return [part for part in known() if part.namespace != "local"]


KNOWN = advertised()


@pytest.fixture(autouse=True)
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder on the path, to write distributions into."""
    with fresh_registry(tmp_path):
        yield tmp_path


def acme(site: Path, name: str = "crl-acme", target: str = "acme_losses:Loss", **more: object) -> None:
    distribution(site, name, {"crl.loss": {"lagged": target}}, **more)  # type: ignore[arg-type]
    forget()


# -- finding ------------------------------------------------------------------------------------------------


def test_an_entry_point_is_all_that_a_part_needs(site: Path) -> None:
    acme(site, modules={"acme_losses": LOSS})
    loss = make("loss", "acme/lagged", margin=2)
    assert (type(loss).__module__, loss.margin) == ("acme_losses", 2)
    assert address_of("loss", loss) == "acme/lagged"


def test_a_bare_name_that_is_unique_is_enough(site: Path) -> None:
    acme(site)
    assert find("loss", "lagged").address == "acme/lagged"


def test_a_bare_name_means_the_cores_own_part_whatever_is_installed(site: Path) -> None:
    distribution(site, "aaa", {"crl.loss": {"info-nce": "aaa:Loss"}})
    forget()
    assert find("loss", "info-nce").address == "core/info-nce"
    assert find("loss", "aaa/info-nce").distribution == "aaa"


def test_two_providers_of_a_bare_name_are_an_error_that_lists_both(site: Path) -> None:
    acme(site)
    distribution(site, "other", {"crl.loss": {"lagged": "other:Loss"}}, version="2.5")
    forget()
    with pytest.raises(PluginError) as caught:
        get("loss", "lagged")
    for told in ("acme/lagged (crl-acme 1.0)", "other/lagged (other 2.5)"):
        assert told in str(caught.value)
    assert find("loss", "other/lagged").version == "2.5"


def test_one_address_from_two_distributions_names_both_and_what_to_do(site: Path) -> None:
    acme(site)
    acme(site, name="acme", target="elsewhere:Loss")
    with pytest.raises(PluginError, match=r"\bcrl-acme 1\.0\b.*\bacme 1\.0\b"):
        find("loss", "acme/lagged")


@pytest.mark.parametrize(
    ("distribution_name", "namespace"),
    [("crl-vision", "vision"), ("crl_vision", "vision"), ("CRL.Vision", "vision"), ("acme-contrast", "acme-contrast"),
     ("my-crl-parts", "my-crl-parts"), ("crl-core", "core")],
)  # fmt: skip
def test_the_namespace_is_the_distribution_without_crl(distribution_name: str, namespace: str) -> None:
    assert namespace_of(distribution_name) == namespace


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("loss", "info-nec", r"\bloss\b.*'info-nec'.*'info-nce'"),
        ("loss", "core/info-nec", r"'core/info-nec'.*'core/info-nce'"),
        ("loss", "info-nec", r"\bcrl list loss\b"),
        ("score", "info-nce", r"\bscore\b.*'info-nce'.*\bloss\b"),
        ("keys", "linear", r"\bkeys\b.*'linear'.*\bevaluator\b.*\bhead\b"),
        ("losses", "info-nce", r"\bkind 'losses'.*\bsampler\b"),
        ("losses", "info-nce", r"'losses'.*'loss'"),
        ("loss", "nobody/info-nce", r"\bplugin\b.*'nobody'"),
    ],
)
def test_a_near_miss_is_told_the_right_word(kind: str, name: str, said: str) -> None:
    with pytest.raises(PluginError) as caught:
        get(kind, name)
    assert re.search(said, str(caught.value))


def test_listing_is_sorted_and_takes_no_notice_of_the_order_of_the_path(tmp_path: Path) -> None:
    for name in ("zeta", "crl-beta"):
        distribution(
            tmp_path / name, name, {"crl.loss": {"b": f"{name}:B", "a": f"{name}:A"}, "crl.head": {"h": "m:H"}}
        )
    lists = []
    for order in (("zeta", "crl-beta"), ("crl-beta", "zeta")):
        with pytest.MonkeyPatch.context() as patch:
            for name in order:
                patch.syspath_prepend(str(tmp_path / name))
            forget()
            lists.append(advertised())
    assert lists[0] == lists[1] == sorted(lists[0])
    assert len(lists[0]) == len(KNOWN) + 6
    assert [part.kind for part in known("head")] == ["head"] * len(known("head"))


def test_an_installation_is_seen_after_refresh(site: Path) -> None:
    known()
    distribution(site, "crl-late", {"crl.loss": {"late": "late_losses:Loss"}}, modules={"late_losses": LOSS})
    with pytest.raises(PluginError):
        get("loss", "late")
    crl.refresh()
    assert get("loss", "late").__name__ == "Loss"


def test_broken_metadata_hide_only_their_own_parts(site: Path) -> None:
    acme(site)
    (site / "crl_acme-1.0.dist-info" / "METADATA").unlink()
    distribution(site, "crl-whole", {"crl.loss": {"whole": "whole:Loss"}})
    forget()
    assert find("loss", "whole").distribution == "crl-whole"
    assert {part.namespace for part in advertised()} == {part.namespace for part in KNOWN} | {"whole"}


# -- loading ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["import a_module_that_is_missing", "1 / 0", "raise SystemExit(3)", "not python"])
def test_a_broken_plugin_hurts_only_who_asks_for_it(site: Path, code: str) -> None:
    acme(site, name="crl-broken", target="broken_part:Loss", version="3.1", modules={"broken_part": code})
    assert "broken/lagged" in [part.address for part in known("loss")]
    assert get("loss", "info-nce") is InfoNCE
    with pytest.raises(PluginError) as caught:
        get("loss", "lagged")
    text = str(caught.value)
    cause = caught.value.__cause__
    assert type(cause).__name__ in text
    for told in (str(cause), "broken_part:Loss", "crl-broken 3.1", "Run: crl doctor crl-broken"):
        assert told in text
    assert "not installed" not in text


def test_a_target_that_is_missing_is_named(site: Path) -> None:
    acme(site, target="acme_empty:Decoupled", modules={"acme_empty": ""})
    with pytest.raises(PluginError, match=r"acme_empty:Decoupled \(crl-acme 1\.0\): AttributeError: .*Decoupled"):
        get("loss", "lagged")


@pytest.mark.parametrize(
    ("requirement", "said"),
    [
        ("crl-core>=99,<100", "needs crl-core"),
        ("CRL_Core[train]<0.1", "needs CRL_Core<0.1"),
        ("crl core >>", "can't be read"),
    ],
)
def test_a_range_that_is_not_met_is_told_before_the_import(site: Path, requirement: str, said: str) -> None:
    acme(site, target="acme_unmet:Loss", version="0.9", requires=[requirement], modules={"acme_unmet": LOSS})
    with pytest.raises(PluginError) as caught:
        get("loss", "lagged")
    for told in (said, "crl-acme 0.9", "this is crl-core", "pip install -U crl-acme crl-core"):
        assert told in str(caught.value)
    assert "acme_unmet" not in sys.modules


@pytest.mark.parametrize(
    "requirement", ["crl-core>=0.1,<100", "crl-core", 'crl-core>99; python_version < "3"', "numpy>9000"]
)
def test_a_range_that_is_met_is_no_hindrance(site: Path, requirement: str) -> None:
    acme(site, target="acme_met:Loss", requires=[requirement], modules={"acme_met": LOSS})
    assert get("loss", "lagged").takes == "scores"


def test_a_part_may_be_advertised_where_its_package_passes_it_on(site: Path) -> None:
    acme(
        site, target="acme_api:Loss", modules={"acme_api.inside": LOSS, "acme_api.__init__": "from .inside import Loss"}
    )
    assert address_of("loss", make("loss", "lagged")) == "acme/lagged"


KERNELS = """
    class NotMade:
        def __init__(self): raise OSError("no such device")

    class NoAnswer:
        def unsupported(self, problem): raise OSError("no such driver")
        def preference(self, problem): return 1e9
        def __call__(self, problem): raise AssertionError

    class Quantum(NoAnswer):
        def unsupported(self, problem): return ["it needs a quantum computer", "and a licence"]

    class Fails(NoAnswer):
        def unsupported(self, problem): return []
        def __call__(self, problem): raise OSError("out of qubits")
"""


def problem() -> Problem:
    rows = Embeddings(torch.randn(4, 3), {"instance": torch.arange(4), "row": torch.arange(4)})
    return Problem(Pairs(rows, (rows,), same("instance"), ~same("instance")), crl.Dot(), InfoNCE())


def test_a_broken_kernel_stops_nobody_elses(site: Path) -> None:
    points = {
        "missing": "nowhere_at_all:Kernel", "not-made": "bad_kernels:NotMade", "no-answer": "bad_kernels:NoAnswer",
    }  # fmt: skip
    distribution(site, "crl-bad", {"crl.kernel": points}, modules={"bad_kernels": KERNELS})
    forget()
    best, passed_over = rank(problem())
    assert best.startswith("core/")
    assert choose_kernel("auto", problem())(problem()).total.isfinite()
    assert "nowhere_at_all" in passed_over["bad/missing"][0]
    assert "no such device" in passed_over["bad/not-made"][0]
    assert "no such driver" in passed_over["bad/no-answer"][0]


def test_a_kernel_that_is_asked_for_and_can_not_run_says_why_and_nothing_runs_in_its_place(site: Path) -> None:
    points = {"quantum": "bad_kernels:Quantum", "no-answer": "bad_kernels:NoAnswer", "fails": "bad_kernels:Fails"}
    distribution(site, "crl-bad", {"crl.kernel": points}, modules={"bad_kernels": KERNELS})
    forget()
    said = r"'bad/quantum'.*\bquantum computer\b.*\blicence\b.*kernel=\"auto\""
    with pytest.raises(PluginError, match=said):
        choose_kernel("bad/quantum", problem())
    with pytest.raises(PluginError, match="OSError: no such driver"):
        choose_kernel("no-answer", problem())
    with pytest.raises(PluginError, match=r"\bkernel\b.*'quantun'.*'quantum', 'bad/quantum'"):
        choose_kernel("quantun", problem())
    with pytest.raises(OSError, match="out of qubits"):
        choose_kernel("fails", problem())(problem())


def test_a_contrast_tells_which_kernel_can_not_run(site: Path) -> None:
    distribution(site, "crl-bad", {"crl.kernel": {"quantum": "bad_kernels:Quantum"}}, modules={"bad_kernels": KERNELS})
    forget()
    contrast = crl.Contrast("query", "query", loss="info-nce", positive="same('instance')", kernel="bad/quantum")
    with pytest.raises(PluginError, match=r"'bad/quantum'.*\bquantum computer\b"):
        contrast({"query": problem().pairs.query})


# -- a plugin that is gone when its parts are to be loaded ---------------------------------------------------


def removed(site: Path) -> Path:
    """A pipeline with a part of crl-acme, saved."""
    acme(site, modules={"acme_losses": LOSS})
    vision = pytest.importorskip("crl_vision.recipes.simclr")
    crl.save(vision.simclr().pipeline.replace("loss", "acme/lagged"), site / "saved")
    return site / "saved"


def test_a_plugin_that_has_been_removed_is_named_with_its_version_and_what_to_run(site: Path) -> None:
    saved = removed(site)
    shutil.rmtree(site / "crl_acme-1.0.dist-info")
    forget()
    with pytest.raises(PluginError) as caught:
        crl.load(saved)
    assert re.search(rf"{saved}\b.*\bcrl-acme 1\.0\b.*\bpip install crl-acme==1\.0\b", str(caught.value))


def test_a_plugin_that_is_left_out_is_not_called_missing(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = removed(site)
    for name, value in (("CRL_DISABLE", "other,acme"), ("CRL_AUTOLOAD", "0")):
        with monkeypatch.context() as patch, warnings.catch_warnings(action="ignore"):
            patch.setenv(name, value)
            forget()
            said = rf"\bcrl-acme 1\.0\b.*\b{name}={value}$"
            with pytest.raises(PluginError, match=said):
                crl.load(saved)


@pytest.mark.parametrize(
    ("name", "release"), [("", "1"), ("crl-acme; rm -rf x", "1"), ("-r", "1"), ("crl-acme", "1 other")]
)
def test_nobody_is_told_to_run_what_is_no_installation(site: Path, name: str, release: str) -> None:
    write({"schema": 1, "requires": {name: release}}, site / "spec.json")
    with pytest.raises(SpecError, match=r"\bdistribution\b.*\bversion\b"):
        open_spec(site / "spec.json")


def test_a_plugin_that_has_another_part_now_is_told_by_the_parts_name(site: Path) -> None:
    saved = removed(site)
    shutil.rmtree(site / "crl_acme-1.0.dist-info")
    distribution(site, "crl-acme", {"crl.loss": {"lagging": "acme_losses:Loss"}}, version="2.0")
    forget()
    with pytest.raises(SpecError, match=r"^contrasts\.0\.loss\b.*\bloss\b.*'acme/lagged'.*'acme/lagging'"):
        crl.load(saved)
    shutil.rmtree(site / "crl_acme-2.0.dist-info")
    distribution(site, "crl-acme", {"console_scripts": {"acme": "a:b"}}, version="3.0")
    forget()
    with pytest.raises(PluginError, match=r"\bcrl-acme 1\.0\b.*\b3\.0\b"):
        crl.load(saved)


# -- registering in this process -----------------------------------------------------------------------------


class Local(nn.Module):
    takes = "scores"

    def __init__(self, margin: float = 0.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, scores: crl.Scores) -> object:
        return scores.negative.logsumexp()


def test_a_registered_class_is_local_and_no_saved_spec_may_name_it(tmp_path: Path) -> None:
    assert register("loss", "mine", Local) is Local
    assert find("loss", "mine").address == "local/mine"
    vision = pytest.importorskip("crl_vision.recipes.simclr")
    pipeline = vision.simclr().pipeline
    pipeline.contrasts[0].loss = make("loss", "local/mine", margin=3)
    data = plain(describe(pipeline))
    assert data["contrasts"][0]["loss"] == {"use": "local/mine", "margin": 3}
    with pytest.raises(SpecError, match=r"\blocal/mine\b.*\bprocess\b"):
        refuse_local(data)
    with pytest.raises(SpecError, match=r"\blocal/mine\b.*\bprocess\b"):
        crl.save(pipeline, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_a_registered_name_takes_nothing_from_the_core() -> None:
    register("loss", "info-nce", Local)
    assert get("loss", "info-nce") is InfoNCE
    assert get("loss", "local/info-nce") is Local


def test_registering_needs_a_kind_that_exists() -> None:
    with pytest.raises(PluginError, match=r"'los'.*'loss'"):
        register("los", "mine", Local)


def test_what_is_not_registered_has_no_address_and_is_told_how_to_get_one() -> None:
    with pytest.raises(PluginError, match=r"\bgroup crl\.loss\b.*\bprocess: crl\.register\b"):
        address_of("loss", Local())


# -- leaving plugins out -------------------------------------------------------------------------------------


def test_disabled_plugins_are_left_out(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(site, "crl-other", {"crl.loss": {"other": "other:Loss"}})
    monkeypatch.setenv("CRL_DISABLE", "acme, core")
    acme(site)
    namespaces = {part.namespace for part in known()}
    assert "acme" not in namespaces
    assert {"core", "other"} <= namespaces, "the core can't be left out"
    with pytest.raises(PluginError, match=r"CRL_DISABLE .*'acme'") as caught:
        get("loss", "acme/lagged")
    assert "No installed plugin" not in str(caught.value)


def test_disabling_what_is_not_there_warns(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(site, "crl-listens", {"crl.hooks": {"listens": "listens"}})
    monkeypatch.setenv("CRL_DISABLE", "acmee,listens")
    acme(site)
    with pytest.warns(UserWarning, match="'acmee'.*'acme'") as caught:
        known()
    assert len(caught) == 1, "a plugin that only listens is a plugin too"


def test_without_autoload_there_is_only_the_core(site: Path) -> None:
    distribution(site, "crl-acme", {"crl.loss": {"lagged": "m:L"}, "crl.hooks": {"acme": "a_module_that_is_missing"}})
    code = """
import warnings; warnings.simplefilter("error")
import crl_core as crl
from crl_core.registry import known
print({part.namespace for part in known()})
for name in ("info-nec", "acme/lagged"):
    try: crl.make("loss", name)
    except crl.CrlError as error: print(error)
"""
    environment = {**os.environ, "CRL_AUTOLOAD": "0", "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    namespaces, miss, plugin = done.stdout.splitlines()
    assert namespaces == "{'core'}"
    assert "Did you mean 'info-nce'" in miss
    assert "CRL_AUTOLOAD=0" in plugin


# -- making ---------------------------------------------------------------------------------------------------


def test_a_part_is_made_from_a_name_a_class_or_an_instance() -> None:
    instance = crl.Cosine(0.3)
    assert make("score", instance) is instance
    assert make("score", "cosine", temperature=0.3).temperature == 0.3
    assert make("score", crl.Cosine, temperature=0.3).temperature == 0.3


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        ("loss", crl.Cosine(), r"\bCosine\b.*\bloss\b.*\btakes\b"),
        ("keys", crl.Cosine, r"\bCosine\b.*\bkeys\b.*\bupdate or choose\b"),
        ("head", 3, r"\b3\b.*\bhead\b.*\b__call__\b"),
        ("update", "no-such-update", r"\bupdate\b.*'no-such-update'"),
    ],
)
def test_the_wrong_thing_is_refused_in_words(kind: str, wrong: object, said: str) -> None:
    with pytest.raises(PluginError, match=said):
        make(kind, wrong)


def test_an_instance_takes_no_more_options() -> None:
    with pytest.raises(PluginError, match=r"options.*temperature"):
        make("score", crl.Cosine(), temperature=0.1)


# -- what is installed here -----------------------------------------------------------------------------------


@pytest.mark.parametrize("part", KNOWN, ids=lambda part: f"{part.kind} {part.address}")
def test_every_part_loads_and_its_options_are_annotated_data(part: object) -> None:
    loaded = load(part).part  # type: ignore[arg-type]
    hints = signature(loaded)
    assert all(hint is not None for hint in hints.values())
    assert find(part.kind, part.address) == part  # type: ignore[attr-defined]
    if part.kind != "recipe":  # type: ignore[attr-defined]
        assert isinstance(loaded, type)
        assert loaded.__doc__, "crl info shows what a part says of itself"


def test_the_core_has_parts_of_every_kind_that_needs_no_domain() -> None:
    here = {part.kind for part in KNOWN if part.namespace == "core"}
    assert set(KINDS) - here == {"sampler", "reader", "recipe"}


@pytest.mark.parametrize("wrong", ["*args", "**options", "margin", "margin: 'Nowhere'"])
def test_options_without_a_type_are_refused(wrong: str) -> None:
    space: dict[str, type] = {}
    exec(f"class Part:\n    def __init__(self, {wrong}): pass", space)
    with pytest.raises(CrlError, match=r"Part: .*(annotation)"):
        signature(space["Part"])
