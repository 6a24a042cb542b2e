"""Two and three processes against one: what they gather, what they learn from, and that they stay the same.

The processes run this file as a script, one call for everything, and leave what they found as
safetensors; the tests compare it with one process on the joined batch.
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
import socket
import subprocess
import sys
import unittest.mock
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from small import Perceptron, Points, moco, simclr
from torch import Tensor

import crl_core as crl
from crl_core import Branch, Contrast, CrlError, Embeddings, Pipeline, Progress, Training, View, distributed, same
from crl_core.contracts.parts import Loss
from crl_core.engine import checkpoint
from crl_core.kernels import blockwise

# Of the joined batch, by how many processes there are, which have different numbers of rows.
SHARES = {2: ((0, 5), (5, 12)), 3: ((0, 2), (2, 7), (7, 12))}
Found = dict[str, Tensor]


class AsDrawn:
    """Views that are part of the data, so that they are the same in however many processes."""

    views = ("a", "b")

    def __call__(self, batch: View) -> dict[str, View]:
        return {"a": View(batch.data[:, 0], batch.meta), "b": View(batch.data[:, 1], batch.meta)}

    def clean(self, batch: View) -> View:
        return View(batch.data[:, 0], batch.meta)


def joined(step: int = 0) -> View:
    generator = torch.Generator().manual_seed(100 + step)
    data = torch.randn(12, 2, 5, generator=generator, dtype=torch.float64)
    return View(data, {"instance": torch.arange(12) + 12 * step, "label": torch.arange(12) % 4})


def part(batch: View, share: tuple[int, int]) -> View:
    rows = slice(*share)
    return View(batch.data[rows], {name: column[rows] for name, column in batch.meta.items()})


def two_branches() -> Pipeline:
    return Pipeline(
        AsDrawn(),
        branches={"query": Branch("a", encoder=Perceptron(norm=False)), "key": Branch("b", tracks="query")},
        contrasts=[Contrast("query", "key", score=crl.Cosine(0.3), loss=crl.InfoNCE())],
    )


def nt_xent() -> Pipeline:
    return Pipeline(
        AsDrawn(), encoder=Perceptron(norm=False), head=crl.MLP(6, norm=False), score=crl.Cosine(0.3), loss="info-nce"
    )


def sup_con() -> Pipeline:
    return Pipeline(
        AsDrawn(), encoder=Perceptron(norm=False), score=crl.Cosine(0.3), loss="info-nce",
        positive=same("label") & ~same("row"),
    )  # fmt: skip


def prototypes() -> Pipeline:
    return Pipeline(
        AsDrawn(),
        branches={"query": Branch(("a", "b"), encoder=Perceptron(norm=False), head=crl.Unit(crl.MLP(6, norm=False)))},
        contrasts=[
            Contrast(
                "query", None, loss=crl.InfoNCE(), positive=same("cluster"),
                keys=crl.Prototypes(4, branch="query", warmup=0),
            )
        ],
    )  # fmt: skip


def lifted_structure() -> Pipeline:
    pipeline = sup_con()
    contrast = pipeline.contrasts[0]
    contrast.loss, contrast.score = crl.LiftedStructure(2.0), crl.L2()
    return pipeline


def queued() -> Pipeline:
    return moco(norm=False, size=30).replace("sampler", AsDrawn())


def banked() -> Pipeline:
    return queued().replace("contrasts.0.keys.0", crl.Bank(40))


def cross_batch() -> Pipeline:
    """Of whole batches: in which order the rows of two views stand, depends on the number of processes."""
    return Pipeline(
        AsDrawn(), encoder=Perceptron(norm=False), score=crl.Cosine(0.3), loss="info-nce", keys=crl.Queue(48),
        positive=same("label") & ~same("row"),
    )  # fmt: skip


def regression() -> Pipeline:
    return Pipeline(
        AsDrawn(),
        branches={
            "projection": Branch(("a", "b"), encoder=Perceptron(norm=False), head=crl.MLP(6, norm=False)),
            "online": Branch(tap="projection", head=crl.Prediction(norm=False)),
            "target": Branch(("a", "b"), tracks="projection", update=crl.Momentum(0.9)),
        },
        contrasts=[Contrast("online", "target", loss=crl.Regression(), positive=same("instance") & ~same("view"))],
    )


def without_negatives(loss: Loss) -> Pipeline:
    return Pipeline(
        AsDrawn(),
        branches={
            "query": Branch("a", encoder=Perceptron(norm=False), head=crl.MLP(3, norm=False)),
            "key": Branch("b", tracks="query"),
        },
        contrasts=[Contrast("query", "key", loss=loss)],
    )


def on_scores(loss: Loss, **options: object) -> Pipeline:
    return Pipeline(
        AsDrawn(),
        branches={
            "query": Branch("a", encoder=Perceptron(norm=False)),
            "key": Branch("b", encoder=Perceptron(norm=False)),
        },
        contrasts=[
            Contrast(
                "query", "key", loss=loss,
                **{"score": crl.Cosine(0.3, learned=True), "positive": same("label"), **options},  # type: ignore[arg-type]
            )
        ],
    )  # fmt: skip


METHODS: dict[str, Callable[[], Pipeline]] = {
    "two branches": two_branches, "nt-xent": nt_xent, "sup-con": sup_con, "queue": queued, "regression": regression,
    "bank": banked,
    "symmetric": lambda: on_scores(crl.InfoNCE(), positive=same("instance"), symmetric=True),
    **{
        f"symmetric {name}": functools.partial(on_scores, loss, symmetric=True, **options)
        for name, loss, options in (
            ("by class", crl.InfoNCE(), {}),
            ("at low temperature", crl.Decoupled(), {"score": crl.Cosine(0.01), "positive": same("instance")}),
            ("with weights", crl.InfoNCE(), {"positive": same("label") & crl.weighted("label")}),
            ("sigmoid", crl.Sigmoid(), {"positive": same("instance")}),
        )
    },
    "each positive": lambda: on_scores(crl.InfoNCE("each")),
    "hardest triplets": lambda: on_scores(crl.Triplet(0.5, mining="hard")),
    "all triplets": lambda: on_scores(crl.Triplet(0.5)),
    "sigmoid": lambda: on_scores(crl.Sigmoid(), positive=same("instance")),
    "jensen-shannon": lambda: on_scores(crl.JensenShannon()),
    "hard negatives": lambda: on_scores(crl.HardNegatives()),
    "inside": lambda: on_scores(crl.InfoNCE("inside")),
    "decoupled": lambda: on_scores(crl.Decoupled()),
    "rince": lambda: on_scores(crl.RINCE()),
    "donsker-varadhan": lambda: on_scores(crl.DonskerVaradhan()),
    "nwj": lambda: on_scores(crl.NWJ()),
    "negative sampling": lambda: on_scores(crl.NegativeSampling()),
    "pair": lambda: on_scores(crl.Pair(), score=crl.L2()),
    "lifted": lambda: on_scores(crl.Lifted(2.0), score=crl.L2()),
    "lifted structure": lifted_structure,
    "prototypes": prototypes,
    "nce": lambda: on_scores(crl.NCE(), positive=same("instance"), keys=crl.Drawn(3)),
    "nce with an estimated normaliser": lambda: on_scores(
        crl.NCE("first-batch"), positive=same("instance"), keys=crl.Drawn(3)
    ),
    "ranking-nce": lambda: on_scores(crl.RankingNCE(), positive=same("label"), keys=crl.Drawn(5)),
    "soft weights": lambda: on_scores(
        crl.InfoNCE(), positive=crl.near("label", 1.0), negative=~crl.near("label", 1.0) | same("instance")
    ),
    "margin": lambda: on_scores(crl.Margin(), score=crl.L2()),
    "semi-hard triplets": lambda: on_scores(crl.Triplet(0.5, mining="semi-hard")),
    "easy positives": lambda: on_scores(crl.Triplet(0.5, mining="easy-positive", form="soft")),
    "cross-batch": cross_batch,
    "barlow-twins": lambda: without_negatives(crl.BarlowTwins()),
    "vicreg": lambda: without_negatives(crl.VICReg()),
    "whitening": lambda: without_negatives(crl.Whitening(iterations=2)),
    "alignment-uniformity": lambda: without_negatives(crl.AlignmentUniformity()),
    "swapped-assignment": lambda: without_negatives(crl.SwappedAssignment(4, width=3)),
}  # fmt: skip


def first_ones(weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """In place of a draw: the first of those that could be drawn, which are the same in however many processes."""
    index = weights.sign().argsort(dim=1, descending=True, stable=True)[:, :count]
    return index, weights.gather(1, index) / weights.sum(1, keepdim=True)


def gradients(name: str, share: tuple[int, int]) -> Found:
    """Loss and gradients of three steps of gradient descent on a share of the batches."""
    with unittest.mock.patch("crl_core.parts.keys.drawn._draw", first_ones):
        return _gradients(name, share)


def _gradients(name: str, share: tuple[int, int]) -> Found:
    torch.manual_seed(3)
    pipeline = METHODS[name]().double().build(joined())
    torch.manual_seed(distributed.rank())  # what is drawn from now on is each process's own
    if isinstance(next(iter(pipeline.contrasts[0].memories), None), crl.Prototypes):
        items = Embeddings.concat([Embeddings(joined(step).data, joined(step).meta) for step in range(3)])
        views = pipeline.sampler(View(items.z, items.meta))
        pipeline.on_epoch(Progress(0, 3, 0, 1), lambda branch: pipeline.embed(views, branch)[branch].rows())
    trained = [(key, parameter) for key, parameter in pipeline.named_parameters() if parameter.requires_grad]
    found: Found = {}
    for step in range(3):
        losses = pipeline.loss(part(joined(step), share))
        losses.total.backward()
        found[f"{name}/{step}/loss"] = losses.total.detach()
        for key, parameter in trained:
            assert parameter.grad is not None, key
            if dist.is_initialized():  # what DistributedDataParallel does
                dist.all_reduce(parameter.grad)
                parameter.grad /= dist.get_world_size()
            found[f"{name}/{step}/{key}"] = parameter.grad.clone()
            with torch.no_grad():
                parameter.sub_(parameter.grad, alpha=0.1)
            parameter.grad = None
        pipeline.on_step()
    memories = pipeline.contrasts[0].memories
    held = memories[0].keys() if memories else None
    if held is not None:
        columns = {key: column for key, column in held.meta.items() if key != "row"}  # other numbers on other processes
        found |= {f"{name}/held": held.z, **{f"{name}/held/{key}": column for key, column in columns.items()}}
    return {key: value.contiguous() for key, value in found.items()}


# -- what a process does -------------------------------------------------------------------------------------------


def work(out: Path) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    found = gathered(rank)
    for name in METHODS:
        with unittest.mock.patch.object(blockwise, "across", wraps=blockwise.across) as across:
            found |= gradients(name, SHARES[dist.get_world_size()][rank])
        found[f"{name}/across"] = torch.tensor(across.call_count)
    save_file(found, out / f"rank{rank}.safetensors")
    dist.barrier()
    dist.destroy_process_group()


def gathered(rank: int) -> Found:
    """Rows of every kind of column, more on every further rank; none on rank 1 of the third table."""
    count = 2 + rank
    z = (torch.arange(count * 3.0).view(count, 3) + 100 * rank).requires_grad_()
    columns = {
        "instance": torch.arange(count) + 10 * rank,
        "time": torch.full((count,), 0.5 + rank),
        "flag": torch.tensor([True, False, True, False])[:count],
    }
    table = distributed.gather(Embeddings(z, columns))
    # Every process weighs the rows in its own way; the gradient of a row is the sum of what all want of it.
    weight = torch.arange(float(len(table))) + 1 + 10 * rank
    (table.z * weight[:, None]).sum().backward()
    assert z.grad is not None
    detached = distributed.gather(Embeddings(z.detach(), {}))
    assert not detached.z.requires_grad
    empty = distributed.gather(Embeddings(z.detach()[: 2 - 2 * rank], {}))
    return {
        "z": table.z.detach(),
        "grad": z.grad,
        "detached": detached.z,
        "empty": empty.z,
        "total": distributed.total(torch.tensor(float(rank + 1), requires_grad=True)),
        # The first process has nothing, the others 0 and 1000.
        "logsumexp": distributed.logsumexp(torch.tensor([-torch.inf, 0.0, 1000.0])[rank]),
        "everywhere": torch.tensor([distributed.everywhere(holds, z.device) for holds in (True, rank != 1)]),
        "world": torch.tensor([distributed.world_size(), distributed.rank()]),
        **{f"column {name}": column for name, column in table.meta.items()},
    }


def train(out: Path) -> None:
    """A user's script: Fabric starts the second process itself."""
    for name in ("simclr", "moco"):
        pipeline = still(name)
        crl.fit(pipeline, Points(), TRAINING, accelerator="cpu", devices=2, out=out / name, show=False)
        rank = dist.get_rank()
        save_file({k: v.clone() for k, v in pipeline.state_dict().items()}, out / f"{name}{rank}.safetensors")

    # Ctrl-C reaches one process before the other: both stop at the same step, and go on as if nothing had been.
    before, steps = Pipeline.on_step, itertools.count(1)

    def on_step(self: Pipeline, progress: Progress | None = None) -> None:
        before(self, progress)
        if next(steps) == 3 and rank == 1:
            os.kill(os.getpid(), signal.SIGINT)

    Pipeline.on_step = on_step  # type: ignore[method-assign]
    options = {"accelerator": "cpu", "devices": 2, "out": out / "cut", "show": False}
    assert not crl.fit(still("simclr"), Points(), TRAINING, **options).finished
    Pipeline.on_step = before  # type: ignore[method-assign]
    pipeline = still("simclr", seed=8)
    crl.fit(pipeline, Points(), TRAINING, resume=True, **options)
    save_file({k: v.clone() for k, v in pipeline.state_dict().items()}, out / f"cut{rank}.safetensors")


TRAINING = Training(
    epochs=2, batch_size=16, log_every=2,
    optimiser=crl.SGD(1e-2, momentum=0.9, weight_decay=1e-4), schedule=crl.CosineDecay(warmup=1.0),
)  # fmt: skip


def still(name: str, seed: int = 7) -> Pipeline:
    """Without noise, which every process draws for itself, and without batch normalisation, which sees its own rows.

    The queue forgets whole batches: in which order their rows stand, depends on the number of processes.
    """
    torch.manual_seed(seed)
    pipeline = simclr(norm=False) if name == "simclr" else moco(norm=False, size=32)
    pipeline.sampler.noise = 0.0  # type: ignore[attr-defined]
    return pipeline


# -- the tests -----------------------------------------------------------------------------------------------------


def call(what: str, out: Path, ranks: int, port: int) -> None:
    """Runs this file in so many processes, with the environment that torchrun gives them."""
    here = Path(__file__)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    path = os.pathsep.join([str(here.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    base = {**clean, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}
    processes = []
    for rank in range(ranks):
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        if ranks > 1:
            place |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
        processes.append(
            subprocess.Popen(
                [sys.executable, str(here), what, str(out)],
                env={**base, **place},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    try:
        said = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * ranks, "\n".join(said)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module", params=SHARES, ids=lambda count: f"{count} processes")
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """What each of several processes has found."""
    out = tmp_path_factory.mktemp("ranks")
    call("work", out, request.param, free_port())
    return [load_file(out / f"rank{rank}.safetensors") for rank in range(request.param)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the runs of a script that trains on two devices."""
    out = tmp_path_factory.mktemp("trained")
    call("train", out, 1, free_port())
    return out


def test_gather_gives_every_process_all_rows_in_order(ranks: list[Found]) -> None:
    for rank, found in enumerate(ranks):
        assert found["world"].tolist() == [len(ranks), rank]
        tables = [torch.arange(6.0).view(2, 3), torch.arange(9.0).view(3, 3) + 100, torch.arange(12.0).view(4, 3) + 200]
        expected = torch.cat(tables[: len(ranks)])
        assert torch.equal(found["z"], expected)
        assert torch.equal(found["detached"], expected)
        assert torch.equal(found["empty"], torch.cat([expected[:2], expected[5:7]]))
        assert found["column instance"].tolist() == [0, 1, 10, 11, 12, 20, 21, 22, 23][: len(expected)]
        assert found["column time"].tolist() == [0.5, 0.5, 1.5, 1.5, 1.5, 2.5, 2.5, 2.5, 2.5][: len(expected)]
        assert (
            found["column flag"].tolist() == [True, False, True, False, True, True, False, True, False][: len(expected)]
        )
        assert found["column flag"].dtype == torch.bool
        assert float(found["total"]) == sum(range(1, len(ranks) + 1))
        assert float(found["logsumexp"]) == (0.0 if len(ranks) == 2 else 1000.0)
        assert found["everywhere"].tolist() == [True, False]


def test_gradients_flow_back_to_where_each_row_came_from(ranks: list[Found]) -> None:
    starts = (0, 2, 5, 9)
    wanted = sum(torch.arange(float(starts[len(ranks)])) + 1 + 10 * rank for rank in range(len(ranks)))
    assert isinstance(wanted, Tensor)
    for found, first, last in zip(ranks, starts, starts[1:], strict=False):
        assert torch.equal(found["grad"], wanted[first:last, None].expand(-1, 3))


@pytest.mark.parametrize("name", METHODS)
def test_many_processes_have_the_loss_and_the_gradient_of_one(name: str, ranks: list[Found]) -> None:
    expected = gradients(name, (0, 12))
    places = [place for place in expected if "/held" not in place]
    assert any(float(expected[place].abs().max()) > 1e-3 for place in places if not place.endswith("loss"))
    for place in places:
        values = [found[place] for found in ranks]
        if not place.endswith("loss"):
            assert all(torch.equal(values[0], value) for value in values), place
        torch.testing.assert_close(torch.stack(values).mean(0), expected[place], rtol=1e-10, atol=1e-11)


def test_both_directions_over_processes_take_one_traversal(ranks: list[Found]) -> None:
    for found in ranks:
        counts = {name: int(found[f"{name}/across"]) for name in METHODS}
        taken = {name for name, count in counts.items() if count}
        assert taken == {"symmetric", "symmetric by class", "symmetric at low temperature", "symmetric with weights"}
        assert all(counts[name] == 3 for name in taken), "once a step"


@pytest.mark.parametrize(("name", "size"), [("queue", 30), ("bank", 36), ("prototypes", 4)])
def test_a_memory_holds_the_same_keys_everywhere(name: str, size: int, ranks: list[Found]) -> None:
    expected = gradients(name, (0, 12))
    assert expected[f"{name}/held"].shape == (size, 6)
    for place in (place for place in expected if "/held" in place):
        assert all(torch.equal(ranks[0][place], found[place]) for found in ranks), place
        torch.testing.assert_close(ranks[0][place], expected[place], rtol=1e-10, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simclr", "moco"])
def test_fit_on_two_devices_is_fit_on_one(name: str, trained: Path) -> None:
    one, other = (load_file(trained / f"{name}{rank}.safetensors") for rank in range(2))
    pipeline = still(name)
    before = {key: value.clone() for key, value in pipeline.state_dict().items()}
    crl.fit(pipeline, Points(), TRAINING, accelerator="cpu", devices=1, show=False)
    expected = pipeline.state_dict()
    assert set(one) == set(expected)
    for key, value in one.items():
        assert torch.equal(value, other[key]), key
        if key.endswith("weight"):
            torch.testing.assert_close(value, expected[key], rtol=1e-4, atol=1e-5)
            if key in before:
                assert not torch.allclose(value, before[key], rtol=1e-3, atol=1e-4), "it trained"


@pytest.mark.slow
def test_processes_that_are_interrupted_at_different_moments_stop_and_go_on_together(trained: Path) -> None:
    for rank in range(2):
        found, expected = (load_file(trained / f"{name}{rank}.safetensors") for name in ("cut", "simclr"))
        for key, value in expected.items():
            assert torch.equal(found[key], value), key
    one, other = (checkpoint.load(trained / name / "checkpoint.safetensors") for name in ("cut", "simclr"))
    assert one["progress"] == other["progress"]
    assert len(one["random"]) == 2


@pytest.mark.slow
def test_a_run_of_two_processes_is_not_resumed_by_one(trained: Path) -> None:
    with pytest.raises(CrlError, match=r"\b2 processes\b.*\b1\b"):
        crl.fit(
            still("simclr"), Points(), TRAINING, accelerator="cpu", devices=1, out=trained / "simclr", resume=True,
            show=False,
        )  # fmt: skip


def test_a_batch_that_can_t_be_dealt_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_fabric import Fabric

    monkeypatch.setattr(Fabric, "world_size", property(lambda self: 3))
    with pytest.raises(CrlError, match=r"\bbatch\b.*\b16\b.*\b3 processes\b"):
        crl.fit(simclr(), Points(), attrs.evolve(TRAINING), accelerator="cpu", devices=1, show=False)


def test_a_process_with_nothing_to_do_says_so_and_lets_nobody_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_fabric import Fabric

    monkeypatch.setattr(Fabric, "world_size", property(lambda self: 2))
    with pytest.raises(CrlError, match=r"\bprocess 0\b.*\b2\b.*\bitem\b.*\bstep 1\b"):
        crl.fit(simclr(), Points(broken=47), TRAINING, accelerator="cpu", devices=1, show=False)


def test_one_process_gathers_nothing() -> None:
    table = Embeddings(torch.randn(3, 2), {"instance": torch.arange(3)})
    assert distributed.gather(table) is table
    assert (distributed.world_size(), distributed.rank()) == (1, 0)


if __name__ == "__main__":
    {"work": work, "train": train}[sys.argv[1]](Path(sys.argv[2]))
