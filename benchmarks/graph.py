"""Methods on graphs: what they reach and cost, beside other libraries and published figures.

    python benchmarks/graph.py [--json] [--only NAME] [--seeds 3]

Every row is {name, metric, ours, peer, published, cpu_seconds, peer_cpu_seconds}; the peer is measured in
the same run where it is installed, and null where it isn't. CPU seconds are what the note on the rows' function says.
One thread. The data are those of `python benchmarks/data.py --all`; a group whose data are absent says so and has no
rows.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator

import torch
from graphs import knowledge, molecules, nodes, walks, worlds
from graphs.measure import Group, Row
from rows import show


def _trans_e(name: str, adversarial: bool) -> Group:
    return lambda seeds: knowledge.trans_e(name, adversarial, seeds)


GROUPS: dict[str, Group] = {
    # knowledge graphs and walks
    **{
        f"trans-e-{name}{'-self-adversarial' if adversarial else ''}": _trans_e(name, adversarial)
        for name, forms in knowledge.TRANS_E.items()
        for adversarial in forms
    },
    "trans-e-recipe": knowledge.trans_e_recipe,
    "lre": knowledge.lre,
    "million": knowledge.million,
    "node2vec-karate": walks.node2vec_karate,
    "node2vec-les-miserables": walks.node2vec_les_miserables,
    "node2vec-step": walks.node2vec_step,
    "walks": walks.walks,
    # representations and worlds
    "dgi-cora": nodes.dgi_cora,
    "dgi-million": nodes.dgi_million,
    "mvgrl-cora": nodes.mvgrl_cora,
    "grace-cora": nodes.grace_cora,
    "mutag": molecules.mutag,
    "bace": molecules.bace,
    "c-swm": lambda seeds: worlds.c_swm("shapes"),
    "c-swm-cubes": lambda seeds: worlds.c_swm("cubes"),
}


def rows_of(names: list[str], seeds: int) -> Iterator[Row]:
    for name in names:
        try:
            # What libraries print must not stand among the rows.
            with contextlib.redirect_stdout(sys.stderr):
                found = GROUPS[name](seeds)
        except FileNotFoundError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        yield from found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", metavar="NAME", help=f"a group, or the beginning of some: {', '.join(GROUPS)}")
    parser.add_argument("--seeds", type=int, default=3, help="over which figures are the mean")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = [name for name in GROUPS if options.only is None or name.startswith(options.only)]
    if not names:
        parser.error(f"no group begins with {options.only!r}; there are {', '.join(GROUPS)}")
    show(rows_of(names, options.seeds), line, options.json)


def line(found: Row) -> str:
    keys = ("ours", "peer", "published", "cpu_seconds", "peer_cpu_seconds")
    cells = "".join(f"{'—' if found[key] is None else found[key]:>12}" for key in keys)
    return f"{found['name']:<36}{found['metric']:<28}{cells}"


if __name__ == "__main__":
    main()
