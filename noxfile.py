"""What the project checks of itself: `nox` runs all but the benchmarks, `nox -s tests` the tests."""

import os

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests", "docs"]
nox.options.reuse_existing_virtualenvs = True

PROJECT = nox.project.load_toml("pyproject.toml")
PLUGINS = ("crl-vision", "crl-timm", "crl-graph", "crl-language")
OURS = ("-e", ".[train,onnx]", *(word for name in PLUGINS for word in ("-e", f"plugins/{name}")))


def group(name: str) -> list[str]:
    """The packages of a dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(PROJECT, name))


@nox.session
def tests(session: nox.Session) -> None:
    """All tests; `nox -s tests -- -m "not slow"` leaves the slow ones out."""
    session.install(*OURS, *group("tests"))
    # One thread for each of the processes, which share the cores; who is done first takes over from the others.
    workers = ("-n", str(os.cpu_count() or 1), "--dist", "worksteal")
    session.run("pytest", *workers, *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: errors, order of imports, format."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict: crl_core, every plugin, the benchmarks, this file; and the examples of the documentation."""
    session.install(*OURS, *group("types"), *group("tests"))
    session.run("mypy")
    session.run("pytest", "tests/test_docs.py", "-k", "types")


@nox.session
def docs(session: nox.Session) -> None:
    """Builds the documentation into site/; a broken link is an error."""
    session.install(*group("docs"))
    session.run("mkdocs", "build", "--strict", "--quiet")


@nox.session(default=False)
def data(session: nox.Session) -> None:
    """Fetches the data of tests and benchmarks into the folder that CRL_DATA names; `nox -s data -- mutag` some."""
    session.install("-e", "plugins/crl-graph", "-e", ".", "pip")
    session.run("python", "benchmarks/data.py", *(session.posargs or ["--all"]))


@nox.session(default=False)
def recipes(session: nox.Session) -> None:
    """Trains recipes for minutes: of images on a small CIFAR-10, where it is, and of words. Half an hour."""
    session.install(*OURS, *group("tests"))
    session.run("pytest", "-n", str(os.cpu_count() or 1), "-m", "recipes", env={"OMP_NUM_THREADS": "1"})


@nox.session(default=False)
def benchmarks(session: nox.Session) -> None:
    """Measures what benchmarks/README.md reports; `nox -s benchmarks -- step` runs one of them."""
    session.install(*OURS, *group("tests"))
    for name in session.posargs or ["startup", "views", "step"]:
        session.run("python", f"benchmarks/{name}.py", env={"OMP_NUM_THREADS": "2"})
