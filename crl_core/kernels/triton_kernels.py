"""The two CUDA programs of the kernel `triton`; importing this needs triton.

A tile of scores is a product of some rows, `mine` `[n, width]`, with some of the `other` `[m, width]`. Which of its
pairs are positive and negative is worked out in the tile (see `triton_relations`), and then the tile is either reduced
to a few numbers for each row (`reduce`), or computed again for the gradient (`push`). Sums are in float32.

The programs are compiled for these constants (`tl.constexpr`): both relations as programs, the reductions of positives
and negatives as `(kind, scale)`, the width, the sizes of tiles, and the precision of products of float32.
"""

import triton
import triton.language as tl

from .triton_plan import Kind
from .triton_relations import AND, NOT, OR

_SUM = tl.constexpr(int(Kind.SUM))
_COUNT = tl.constexpr(int(Kind.COUNT))
_SOFTPLUS = tl.constexpr(int(Kind.SOFTPLUS))
_LOGSUMEXP = tl.constexpr(int(Kind.LOGSUMEXP))
_AND, _OR, _NOT = tl.constexpr(AND), tl.constexpr(OR), tl.constexpr(NOT)
_COUNTS = ["n", "m", "span"]  # they change from batch to batch, so no program is compiled for each value
_LOWEST = tl.constexpr(-3.0e38)  # finite, because -inf - -inf would be NaN


@triton.jit(do_not_specialize=_COUNTS)
def reduce(
    mine, other, low, high, rank, out, n, m, span,
    width: tl.constexpr, atoms: tl.constexpr, positive: tl.constexpr, negative: tl.constexpr,
    of_positive: tl.constexpr, of_negative: tl.constexpr,
    rows_size: tl.constexpr, columns_size: tl.constexpr, chunk: tl.constexpr, whole: tl.constexpr,
    precision: tl.constexpr,
):  # fmt: skip
    """All reductions of each row's candidates among `span` columns, `out` `[splits, reductions, n]`.

    Rows are read `whole` and kept, or read `chunk` by `chunk`.
    """
    rows = tl.program_id(0) * rows_size + tl.arange(0, rows_size)
    first = tl.program_id(1) * span
    intervals = _intervals(low, high, rows, n, atoms)
    near = _tile(mine, rows, n, 0, width, chunk)
    some = _nothing(of_positive, rows_size)
    rest = _nothing(of_negative, rows_size)
    for start in range(0, span, columns_size):
        columns = first + start + tl.arange(0, columns_size)
        if whole:
            scores = tl.dot(near, _tile(other, columns, m, 0, width, chunk).T, input_precision=precision)
        else:
            scores = _products(mine, other, rows, columns, n, m, width, chunk, precision)
        facts = _facts(intervals, rank, columns, m)
        exists = (columns < m)[None, :]
        is_positive = _holds(positive, facts) & exists
        # Most tiles have no positives, and skip this.
        if tl.max(is_positive.to(tl.int32)) > 0:
            some = _more(some, scores, is_positive, of_positive)
        rest = _more(rest, scores, _holds(negative, facts) & exists, of_negative)
    out += tl.program_id(1) * (len(of_positive) + len(of_negative)) * n
    _store(out, some, of_positive, rows, n, 0)
    _store(out, rest, of_negative, rows, n, len(of_positive))


@triton.jit(do_not_specialize=_COUNTS)
def push(
    mine, other, low, high, rank, my_values, my_slopes, other_values, other_slopes, out, n, m, span,
    width: tl.constexpr, atoms: tl.constexpr, positive: tl.constexpr, negative: tl.constexpr,
    of_positive: tl.constexpr, of_negative: tl.constexpr, by_mine: tl.constexpr, by_other: tl.constexpr,
    rows_size: tl.constexpr, columns_size: tl.constexpr, part: tl.constexpr, chunk: tl.constexpr, whole: tl.constexpr,
    precision: tl.constexpr,
):  # fmt: skip
    """The gradient of each row from its scores with `span` columns, `out` `[splits, n, width]`.

    A score has a slope `by_mine` if the rows are queries, `by_other` if the columns are, or both. Values and slopes
    are those of all reductions, `[reductions, n]` and `[reductions, m]`. Each program computes one `part` of the width;
    if rows are read `whole`, the whole width.
    """
    rows = tl.program_id(0) * rows_size + tl.arange(0, rows_size)
    place = tl.program_id(1) * part
    first = tl.program_id(2) * span
    intervals = _intervals(low, high, rows, n, atoms)
    near = _tile(mine, rows, n, 0, width, part)
    gradient = tl.zeros([rows_size, part], tl.float32)
    for start in range(0, span, columns_size):
        columns = first + start + tl.arange(0, columns_size)
        far = _tile(other, columns, m, place, width, part)
        if whole:
            scores = tl.dot(near, far.T, input_precision=precision)
        else:
            scores = _products(mine, other, rows, columns, n, m, width, chunk, precision)
        facts = _facts(intervals, rank, columns, m)
        exists = (columns < m)[None, :]
        is_positive = _holds(positive, facts) & exists
        is_negative = _holds(negative, facts) & exists
        weights = tl.zeros_like(scores)
        if by_mine:
            weights += _weights(scores, is_negative, of_negative, my_values, my_slopes, rows, n, len(of_positive), 1)
        if by_other:
            weights += _weights(
                scores, is_negative, of_negative, other_values, other_slopes, columns, m, len(of_positive), 0
            )
        if tl.max(is_positive.to(tl.int32)) > 0:
            if by_mine:
                weights += _weights(scores, is_positive, of_positive, my_values, my_slopes, rows, n, 0, 1)
            if by_other:
                weights += _weights(scores, is_positive, of_positive, other_values, other_slopes, columns, m, 0, 0)
        gradient = tl.dot(weights.to(far.dtype), far, gradient, input_precision=precision)
    at = place + tl.arange(0, part)
    there = (rows < n)[:, None] & (at < width)[None, :]
    base = (tl.program_id(2).to(tl.int64) * n + rows.to(tl.int64)) * width
    tl.store(out + base[:, None] + at[None, :], gradient, mask=there)


# -- scores ----------------------------------------------------------------------------------------


@triton.jit
def _tile(table, rows, count, place, width: tl.constexpr, chunk: tl.constexpr):
    """`chunk` numbers of these rows, from `place` on; 0 beyond the end."""
    at = place + tl.arange(0, chunk)
    there = (rows < count)[:, None] & (at < width)[None, :]
    return tl.load(table + rows.to(tl.int64)[:, None] * width + at[None, :], mask=there, other=0.0)


@triton.jit
def _products(mine, other, rows, columns, n, m, width: tl.constexpr, chunk: tl.constexpr, precision: tl.constexpr):
    """Scores of rows that are wider than a chunk."""
    scores = tl.zeros([rows.shape[0], columns.shape[0]], tl.float32)
    for place in range(0, width, chunk):
        near = _tile(mine, rows, n, place, width, chunk)
        scores = tl.dot(near, _tile(other, columns, m, place, width, chunk).T, scores, input_precision=precision)
    return scores


# -- relations -------------------------------------------------------------------------------------


@triton.jit
def _intervals(low, high, rows, n, atoms: tl.constexpr):
    """For each atom, the interval of each row's partners in the order of the columns."""
    found = ()
    for i in tl.static_range(atoms):
        bounds = (
            tl.load(low + i * n + rows, mask=rows < n, other=0)[:, None],
            tl.load(high + i * n + rows, mask=rows < n, other=0)[:, None],
        )
        found = found + (bounds,)
    return found


@triton.jit
def _facts(intervals, rank, columns, m):
    """For each atom, whether it holds for each pair of the tile."""
    found = ()
    for i in tl.static_range(len(intervals)):
        place = tl.load(rank + i * m + columns, mask=columns < m, other=0)[None, :]
        found = found + ((place >= intervals[i][0]) & (place < intervals[i][1]),)
    return found


@triton.jit
def _holds(program: tl.constexpr, facts):
    """Whether a relation holds, from whether its atoms hold."""
    stack = ()
    for i in tl.static_range(len(program)):
        if program[i] >= 0:
            stack = stack + (facts[program[i]],)
        elif program[i] == _NOT:
            stack = stack[:-1] + (~stack[-1],)
        elif program[i] == _AND:
            stack = stack[:-2] + (stack[-2] & stack[-1],)
        else:
            stack = stack[:-2] + (stack[-2] | stack[-1],)
    return stack[0]


# -- reductions ------------------------------------------------------------------------------------


@triton.jit
def _nothing(plan: tl.constexpr, size: tl.constexpr):
    """For each reduction, the maximum (only for log-sum-exp) and the sum, of no candidates."""
    state = ()
    for _ in tl.static_range(len(plan)):
        state = state + ((tl.full([size], _LOWEST, tl.float32), tl.zeros([size], tl.float32)),)
    return state


@triton.jit
def _more(state, scores, mask, plan: tl.constexpr):
    """The reductions with the candidates of one more tile."""
    after = ()
    for i in tl.static_range(len(plan)):
        highest, total = state[i]
        if plan[i][0] == _LOGSUMEXP:
            values = tl.where(mask, scores * plan[i][1], float("-inf"))
            higher = tl.maximum(highest, tl.max(values, 1))
            total = total * tl.exp(highest - higher) + tl.sum(tl.exp(values - higher[:, None]), 1)
            highest = higher
        elif plan[i][0] == _SOFTPLUS:
            total += tl.sum(tl.where(mask, _softplus(scores * plan[i][1]), 0.0), 1)
        elif plan[i][0] == _SUM:
            total += tl.sum(tl.where(mask, scores, 0.0), 1)
        else:
            total += tl.sum(mask.to(tl.float32), 1)
        after = after + ((highest, total),)
    return after


@triton.jit
def _store(out, state, plan: tl.constexpr, rows, n, first):
    for i in tl.static_range(len(plan)):
        highest, total = state[i]
        if plan[i][0] == _LOGSUMEXP:
            total = tl.where(total > 0, highest + tl.log(tl.where(total > 0, total, 1.0)), float("-inf"))
        tl.store(out + (first + i) * n + rows, total, mask=rows < n)


@triton.jit
def _weights(scores, mask, plan: tl.constexpr, values, slopes, places, count, first, axis: tl.constexpr):
    """The slope of each score: for each reduction, its derivative times the slope of the loss for the reduction."""
    weights = tl.zeros_like(scores)
    for i in tl.static_range(len(plan)):
        if plan[i][0] != _COUNT:
            at = (first + i) * count + places
            slope = tl.expand_dims(tl.load(slopes + at, mask=places < count, other=0.0), axis)
            if plan[i][0] == _LOGSUMEXP:
                value = tl.expand_dims(tl.load(values + at, mask=places < count, other=0.0), axis)
                weights += slope * plan[i][1] * tl.exp(scores * plan[i][1] - value)
            elif plan[i][0] == _SOFTPLUS:
                weights += slope * plan[i][1] * tl.sigmoid(scores * plan[i][1])
            else:
                weights += slope
    return tl.where(mask, weights, 0.0)


@triton.jit
def _softplus(x):
    """log(1 + exp x), accurate also if 1 + exp x rounds to 1."""
    small = tl.exp(-tl.abs(x))
    one = 1.0 + small
    # log(1 + small), corrected for the rounding of the addition.
    log = tl.where(one == 1.0, small, tl.log(one) * (small / tl.where(one == 1.0, 1.0, one - 1.0)))
    return tl.maximum(x, 0.0) + log
