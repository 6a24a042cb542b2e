from __future__ import annotations

import contextlib
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crl_core.data.parsing import parse
from crl_core.data.relation import And, Not, Or, Relation, RelationError, beyond, near, same, weighted, within

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
DISTANCES = st.one_of(st.integers(0, 9), st.floats(0, 1e6, allow_nan=False))
WIDTHS = DISTANCES.filter(bool)
ATOMS = st.one_of(
    NAMES.map(same), NAMES.map(weighted), st.builds(within, NAMES, DISTANCES), st.builds(beyond, NAMES, DISTANCES),
    st.builds(near, NAMES, WIDTHS),
)  # fmt: skip
RELATIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(st.builds(And, inner, inner), st.builds(Or, inner, inner), st.builds(Not, inner)),
    max_leaves=6,
)


@given(RELATIONS)
def test_prints_as_it_is_read(relation: Relation) -> None:
    assert parse(str(relation)) == relation


@pytest.mark.parametrize(
    "text",
    [
        'same("instance") & ~same("row")',
        'same("video") & within("time", 2)',
        'same("video") & (within("time", 2) | beyond("time", 10.5))',
        '~(same("a") | same("b")) & same("c")',
        'same("a") & (same("b") & same("c"))',
        'near("age", 5) & weighted("sure") | ~near("age", 0.5)',
    ],
)
def test_prints_as_it_is_written(text: str) -> None:
    assert str(parse(text)) == text


def test_operators_build_what_the_text_says() -> None:
    assert parse('same("video") & ~within("time", 2) | beyond("time", 10)') == (
        same("video") & ~within("time", 2) | beyond("time", 10)
    )


COLUMNS = st.lists(st.integers(-1, 3), min_size=1, max_size=6)


@given(COLUMNS, COLUMNS, COLUMNS)
def test_means_what_it_says_for_every_pair(query: list[int], key: list[int], time: list[int]) -> None:
    relation = (same("id") & within("time", 1)) | ~same("id") & beyond("time", 2)
    q = {"id": torch.tensor(query), "time": torch.arange(len(query))}
    k = {"id": torch.tensor(key), "time": torch.tensor((time * len(key))[: len(key)])}
    found = relation({name: column[:, None] for name, column in q.items()}, k)
    for i in range(len(query)):
        for j in range(len(key)):
            same_id = query[i] == key[j] and query[i] >= 0
            apart = abs(i - int(k["time"][j]))
            assert bool(found[i, j]) == ((same_id and apart <= 1) or (not same_id and apart > 2))


def test_weights_of_soft_relations() -> None:
    query = {"age": torch.tensor([[30.0], [float("nan")]]), "sure": torch.tensor([[0.5], [1.0]])}
    key = {"age": torch.tensor([30.0, 32.0, 1000.0]), "sure": torch.tensor([1.0, 0.0, 0.2])}
    bell = near("age", 2)
    assert bell(query, key).tolist() == [[True, True, False], [False] * 3], "what is too far to count is no positive"
    torch.testing.assert_close(bell.weights(query, key)[0, :2], torch.tensor([1.0, math.exp(-0.5)]))
    assert weighted("sure")(query, key).tolist() == [[True, False, True]] * 2
    both = bell & weighted("sure")
    torch.testing.assert_close(both.weights(query, key)[0, 0], torch.tensor(0.5))
    either = weighted("sure") | same("age")
    torch.testing.assert_close(either.weights(query, key)[0], torch.tensor([1.0, 0.0, 0.1]))
    assert both.soft
    assert either.soft
    assert not (~bell | same("age")).soft


def test_unknown_is_the_same_as_nothing() -> None:
    unknown, known = torch.tensor([[-1], [2]]), torch.tensor([-1, 2])
    assert same("label")({"label": unknown}, {"label": known}).tolist() == [[False, False], [False, True]]
    nan = torch.tensor([float("nan")])
    assert not same("x")({"x": nan}, {"x": nan}).any()


def test_a_missing_column_is_named_with_the_nearest() -> None:
    with pytest.raises(RelationError, match=r"same\(\"lable\"\).*'lable'.*\bkey rows\b.*\binstance, label\b"):
        same("lable")({"lable": torch.zeros(1)}, {"label": torch.zeros(1), "instance": torch.zeros(1)})


def test_and_or_not_are_refused() -> None:
    with pytest.raises(RelationError, match="combine with &"):
        bool(same("a") and same("b"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "can't read"),
        ("sane('a')", "'same'"),
        ("same(a)", r"\bcolumn\b"),
        ("same('a', 'b')", r"takes \(column\), not 2"),
        ("within('a')", r"takes \(column, distance\)"),
        ("within('a', 'b')", "doesn't fit"),
        ("within('a', True)", "doesn't fit"),
        ("within('a', -1)", r"\bcolumn\b.*\bnumber\b"),
        ("same('a') and same('b')", "joined by"),
        ("same('a') + same('b')", "joined by"),
        ("same(name='a')", "joined by"),
        ("__import__('os').system('true')", "joined by"),
        ("(lambda: 0)()", "joined by"),
        ("same('a') if same('b') else same('c')", "joined by"),
        ("~" * 5_000 + "same('a')", "at most 1000"),
        ("(" * 400 + "same('a')" + ")" * 400, "can't read"),
        ("within('a', 1e999)", "finite"),
        ("near('a', 0)", r"\bwidth\b.*\b0\b"),
        ("near('a')", r"takes \(column, distance\)"),
        ("weighted('a', 2)", r"takes \(column\), not 2"),
    ],
)
def test_anything_else_is_refused_with_the_place(text: str, said: str) -> None:
    with pytest.raises(RelationError, match=said):
        parse(text)


@given(st.text(max_size=60))
def test_no_text_does_anything_but_parse_or_fail_clearly(text: str) -> None:
    with contextlib.suppress(RelationError):
        assert isinstance(parse(text), Relation)


@given(st.text("same()within'\"\\&|~0123456789., ab", max_size=60))
def test_nor_does_text_that_looks_right(text: str) -> None:
    try:
        relation = parse(text)
    except RelationError:
        return
    assert parse(str(relation)) == relation
