"""The heart of the core is read in an afternoon: contracts, data, method, spec and registry."""

from __future__ import annotations

from pathlib import Path

CORE = Path(__file__).parents[1] / "crl_core"
HEART = {
    "contracts": ["protocols.py"],
    "data": ["relation.py", "pairs.py", "listing.py", "rows.py"],
    "method": ["branch.py", "contrast.py", "terms", "objective.py", "passing.py", "pipeline.py", "method"],
    "spec": ["spec.py", "assembly.py", "places.py"],
    "registry": ["registry"],
}
LINES = 4_500


def test_the_heart_is_short() -> None:
    files = [
        file
        for names in HEART.values()
        for name in names
        for file in ([CORE / name] if name.endswith(".py") else sorted((CORE / name).glob("*.py")))
    ]
    assert len(files) > 20
    lines = {file.relative_to(CORE).as_posix(): len(file.read_text().splitlines()) for file in files}
    assert sum(lines.values()) < LINES, lines
