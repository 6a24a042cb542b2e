"""Makes the pages of the reference when the documentation is built, from what the distributions register.

A hook of MkDocs (`mkdocs.yml`). It reads `pyproject.toml` and the source as text, so that building the documentation
needs neither torch nor an installed plugin.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
PROJECTS = [ROOT, *sorted(ROOT.glob("plugins/*"))]
# Of the names that a hook opens, the class behind all of them.
FAMILIES = {
    "timm/…": "crl_timm.encoders:TimmEncoder",
    "vision/…": "crl_vision.encoders.torchvision_models:TorchvisionEncoder",
}
STRUCTURE = {
    "Pipeline and its terms": ("Pipeline", "Branch", "Contrast", "Penalty"),
    "Relations": ("same", "within", "beyond", "near", "weighted"),
    "Training": ("Training", "Group"),
    "Tables": ("View", "Embeddings", "Pairs", "Scores"),
    "For parts of your own": ("Lazy", "InMemory", "Progress"),
}
TITLES = {
    "sampler": "Samplers", "encoder": "Encoders", "head": "Heads", "score": "Scores", "loss": "Losses", "keys": "Keys",
    "update": "Updates", "optimiser": "Optimisers", "schedule": "Schedules", "source": "Sources", "reader": "Readers",
    "evaluator": "Evaluators", "kernel": "Kernels", "recipe": "Recipes",
}  # fmt: skip
_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Paper|Checked|Differs):(.*)")


class Part(NamedTuple):
    """A part as its distribution registers it."""

    kind: str
    address: str
    target: str


class Option(NamedTuple):
    name: str
    type: str
    default: str


class Found(NamedTuple):
    """A class or a function, and the module in which it is written."""

    node: ast.ClassDef | ast.FunctionDef
    module: str


# -- what there is ---------------------------------------------------------------------------------


def parts() -> Iterator[Part]:
    """Every part of the core and of the plugins that live here."""
    for folder in PROJECTS:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        namespace = project["name"].removeprefix("crl-")
        for group, entries in project.get("entry-points", {}).items():
            kind = group.removeprefix("crl.")
            if kind in TITLES:
                yield from (Part(kind, f"{namespace}/{name}", target) for name, target in sorted(entries.items()))
    yield from (Part("encoder", address, target) for address, target in FAMILIES.items())


@cache
def public() -> dict[str, str]:
    """Of every public name of the core the module in which it is written."""
    text = (ROOT / "crl_core" / "__init__.pyi").read_text(encoding="utf-8")
    return {name: f"crl_core.{module}" for module, name in re.findall(r"from \.([\w.]+) import (\w+) as", text)}


@cache
def tree(module: str) -> ast.Module:
    package, *_ = module.split(".")
    for folder in PROJECTS:
        path = folder.joinpath(*module.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if (folder / package).is_dir() and file.is_file():
                return ast.parse(file.read_text(encoding="utf-8"))
    raise LookupError(f"no source of {module}")


def find(module: str, name: str) -> Found:
    """What a module calls by this name, also where it only passes it on.

    Raises:
        LookupError: it has no such name.
    """
    for node in tree(module).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            return Found(node, module)
    for node in tree(module).body:
        if isinstance(node, ast.ImportFrom) and any(name in (alias.asname, alias.name) for alias in node.names):
            original = next(alias.name for alias in node.names if name in (alias.asname, alias.name))
            source = _absolute(module, node)
            if source == "crl_core":
                source = public()[original]
            return find(source, original)
    raise LookupError(f"{module} has no {name}")


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    return ".".join([*module.split(".")[: -node.level], *([node.module] if node.module else [])])


# -- options ---------------------------------------------------------------------------------------


def options(found: Found) -> list[Option]:
    """The options of a class, or of the function that makes something."""
    node, module = found
    if isinstance(node, ast.FunctionDef):
        return _of_function(node, module)
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__":
            return _of_function(each, module)
    if any("attrs" in ast.unparse(decorator) for decorator in node.decorator_list):
        return _of_fields(node, module)
    for base in node.bases:
        if isinstance(base, ast.Name):
            try:
                return options(find(module, base.id))
            except (LookupError, KeyError):
                continue
    return []


def _of_function(node: ast.FunctionDef, module: str) -> list[Option]:
    args = [arg for arg in [*node.args.posonlyargs, *node.args.args] if arg.arg != "self"]
    defaults: list[ast.expr | None] = [*node.args.defaults]
    pairs = list(zip(args, [None] * (len(args) - len(defaults)) + defaults, strict=True))
    pairs += list(zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True))
    return [Option(arg.arg, _type(arg.annotation, module), _value(default)) for arg, default in pairs]


def _of_fields(node: ast.ClassDef, module: str) -> list[Option]:
    fields = [each for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)]
    found = []
    for each in fields:
        name = ast.unparse(each.target)
        if not name.startswith("_") and "ClassVar" not in ast.unparse(each.annotation):
            found.append(Option(name, _type(each.annotation, module), _value(_field(each.value))))
    return found


def _field(value: ast.expr | None) -> ast.expr | None:
    """The default of `attrs.field(default=…)`, or of `factory=…`."""
    if not (isinstance(value, ast.Call) and ast.unparse(value.func) in ("attrs.field", "field")):
        return value
    given = {keyword.arg: keyword.value for keyword in value.keywords}
    if "factory" in given:
        return ast.Call(given["factory"], [], [])
    return given.get("default")


def _type(annotation: ast.expr | None, module: str) -> str:
    """As text, with the module's own short names written out."""
    text = "" if annotation is None else ast.unparse(annotation)
    for node in tree(module).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name.startswith("_") or "Literal" in ast.unparse(node.value):
                text = ast.unparse(node.value).join(re.split(rf"\b{re.escape(name)}\b", text))
    return re.sub(r"Literal\[([^\]]*)\]", lambda match: match[1].replace(", ", " | "), text)


def _value(default: ast.expr | None) -> str:
    return "" if default is None else ast.unparse(default)


# -- text ------------------------------------------------------------------------------------------


def markdown(docstring: str, known: list[Option]) -> Iterator[str]:
    """A docstring as Markdown: prose, the example as code, options in a table, errors in a list."""
    sections = _sections(docstring)
    yield from _prose(sections.pop("", []))
    described = dict(_entries(sections.pop("Args", [])))
    if known:
        yield from ("| option | type | default | |", "|---|---|---|---|")
        for option in known:
            text = next((text for names, text in described.items() if option.name in re.split(r",\s*", names)), "")
            cells = [_code(option.name), _code(option.type), _code(option.default), _cell(_escaped(text))]
            yield "| " + " | ".join(cells) + " |"
        yield ""
    for title, lines in sections.items():
        if title in ("Paper", "Checked", "Differs"):
            yield f"**{title}.** {_escaped(' '.join(line.strip() for line in lines if line))}\n"
            continue
        yield f"**{title}**\n"
        for name, text in _entries(lines):
            yield f"- `{name}`: {_escaped(text)}" if text else f"- {_escaped(name)}"
        yield ""


def _sections(docstring: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"": []}
    where = ""
    for line in docstring.splitlines():
        if match := _SECTION.fullmatch(line):
            where = match[1]
            found[where] = [f"    {match[2].strip()}"] if match[2].strip() else []
        elif where and line and not line.startswith(" "):
            found[""].append(line)
            where = ""
        else:
            found[where].append(line)
    return found


def _entries(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Names and what is said of them, as `name: text`, with lines that go on further to the right."""
    entries: list[str] = []
    for line in filter(None, lines):
        if len(line) - len(line.lstrip()) <= 4 or not entries:
            entries.append(line.strip())
        else:
            entries[-1] += f" {line.strip()}"
    for entry in entries:
        match = re.match(r"([\w, .]+): (.*)", entry)
        yield (match[1], match[2]) if match else (entry, "")


def _prose(lines: list[str]) -> Iterator[str]:
    """Paragraphs; what is further to the right is a list, and `>>>` begins code that a blank line ends."""
    code, listed = False, False
    for line in lines:
        if line.lstrip().startswith(">>>") and not code:
            code = True
            yield "\n```pycon"
        if code and not line:
            code = False
            yield "```\n"
        elif code:
            yield line
        elif line.startswith("    ") and line.strip():
            more = listed and line.startswith("     ")
            yield ("  " if more else ("" if listed else "\n") + "- ") + _escaped(line.strip())
            listed = True
        else:
            yield ("\n" if listed and line else "") + _escaped(line)
            listed = False
    if code:
        yield "```\n"


def _escaped(text: str) -> str:
    """Text in which Markdown finds nothing but `code`."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if piece.startswith("`") else re.sub(r"([*_<\[\]])", r"\\\1", piece) for piece in pieces)


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", text)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


# -- pages -----------------------------------------------------------------------------------------


def pages() -> dict[str, str]:
    """The reference: the text of every page by its path in the documentation."""
    found = {"reference/structure.md": _structure()}
    every = list(parts())
    for kind, title in TITLES.items():
        found[f"reference/{kind}.md"] = _page(kind, title, [part for part in every if part.kind == kind])
    return found


def _page(kind: str, title: str, those: list[Part]) -> str:
    lines = [f"# {title}", ""]
    name = kind.title()
    if name in public() and kind != "recipe":
        docstring = ast.get_docstring(find(public()[name], name).node) or ""
        lines += [*_prose(docstring.splitlines()), "", "How to write one: [contracts](../contracts.md)."]
    for part in those:
        lines += ["", f"## {part.address}", "", *_entry(part)]
    return "\n".join(lines) + "\n"


def _entry(part: Part) -> Iterator[str]:
    module, _, name = part.target.partition(":")
    found = find(module, name)
    where = f"crl.{name}" if public().get(name) == found.module else f"{found.module}.{name}"
    said = f"`crl train {part.address}`" if part.kind == "recipe" else f"in a spec `{part.address}`"
    yield f"`{where}`, {said}\n"
    yield from markdown(ast.get_docstring(found.node) or "", options(found))


def _structure() -> str:
    lines = ["# Pipelines, relations, training", ""]
    for title, names in STRUCTURE.items():
        lines += [f"## {title}", ""]
        for name in names:
            found = find(public()[name], name)
            lines += [f"### {name}", "", f"`crl.{name}`\n"]
            lines += markdown(ast.get_docstring(found.node) or "", options(found))
    return "\n".join(lines) + "\n"


def on_files(files: Any, *, config: Any) -> Any:
    """MkDocs asks for more files: adds the pages."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files
