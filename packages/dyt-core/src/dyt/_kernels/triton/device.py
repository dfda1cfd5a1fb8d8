"""The Triton kernels: device code, for any formula of `dyt._kernels.triton.functions`."""

# The kernels see tensors as [M, N]. Where a weight is a column, the width N, the columns that share
# a weight (PER_PARAMETER) and the strides of rows are constants: a model has few widths. In
# channels-first order they are arguments, `n`, `per_parameter`, `x_row`, and the constants None: N
# grows with an image or a recording, and compiling a kernel for each length takes longer than it
# ever saves. RAGGED: N is no multiple of BLOCK_N.

# Triton's decorator and its tensors have no types that mypy could check a kernel with.
# It compiles `if` on a constant as a statement, and a tuple by its operators, not by unpacking.
# ruff: noqa: RUF005, SIM108
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,misc,assignment"

import triton
import triton.language as tl


@triton.jit
def _tile(
    start, row, i: tl.constexpr, rows, cols, span, outer, stride,
    OUTER: tl.constexpr, ROW: tl.constexpr,
):  # fmt: skip
    """Pointers to the i-th tile below a row; offsets of rows are 64 bits where 32 could wrap.

    OUTER == 0: rows are ROW apart, or ``stride`` where ROW is None. Otherwise span rows are, in
    blocks OUTER * outer apart: the constant factor tells the compiler how the blocks are aligned,
    the other varies with shapes.
    """
    BELOW: tl.constexpr = i * rows.shape[0]
    if ROW is None:
        at = rows + row + BELOW
        if OUTER == 0:
            offset = at.to(tl.int64) * stride
        else:
            block = at // span
            offset = block.to(tl.int64) * outer * OUTER + (at - block * span).to(tl.int64) * stride
        pointers = start + (offset[:, None] + cols[None, :])
    elif OUTER == 0:
        if ROW * rows.shape[0] >= 2**31:
            rows = rows.to(tl.int64)
        start += tl.cast(row, tl.int64) * ROW + BELOW * ROW  # a constant for each i: no arithmetic
        pointers = start + (rows[:, None] * ROW + cols[None, :])
    else:
        at = rows + row + BELOW
        block = at // span  # 32 bits: division of 64 is a loop with branches
        offset = block.to(tl.int64) * outer * OUTER + (at - block * span).to(tl.int64) * ROW
        pointers = start + (offset[:, None] + cols[None, :])
    return pointers


@triton.jit
def _load(pointers, mask, MASKED: tl.constexpr, OTHER: tl.constexpr):
    if MASKED:
        tile = tl.load(pointers, mask=mask, other=OTHER)
    else:
        tile = tl.load(pointers)
    return tile


@triton.jit
def _store(pointers, tile, mask, MASKED: tl.constexpr):
    tile = tile.to(pointers.dtype.element_ty)
    if MASKED:
        tl.store(pointers, tile, mask=mask)
    else:
        tl.store(pointers, tile)


@triton.jit
def _scalars(alpha, shift, SCALE: tl.constexpr):
    """alpha, alpha * SCALE and shift * SCALE (0 where there is no shift), in fp32."""
    plain = tl.load(alpha).to(tl.float32)
    offset = 0.0
    if shift is not None:
        offset = tl.load(shift).to(tl.float32) * SCALE
    return plain, plain * SCALE, offset


@triton.jit
def _parameter_of(column, per_parameter, PER_PARAMETER: tl.constexpr):
    if PER_PARAMETER is None:
        parameter = column // per_parameter
    else:
        parameter = column // PER_PARAMETER
    return parameter


@triton.jit
def _per_column(parameter, cols, default, inside, per_parameter, PER_PARAMETER: tl.constexpr):
    """A parameter's value for each column, in fp32; the default where it is None."""
    if parameter is None:
        values = tl.full([cols.shape[0]], default, tl.float32)
    else:
        at = parameter + _parameter_of(cols, per_parameter, PER_PARAMETER)
        values = tl.load(at, mask=inside, other=0).to(tl.float32)
    return values


@triton.jit
def _inside(cols, n, N: tl.constexpr):
    if N is None:
        inside = cols < n
    else:
        inside = cols < N
    return inside


@triton.jit(do_not_specialize=["M", "span", "x_outer", "y_outer"])
def forward_kernel(
    x, y, alpha, shift, weight, bias, M, span, x_outer, y_outer,
    n, per_parameter, x_row, y_row,
    N: tl.constexpr, PER_PARAMETER: tl.constexpr, RAGGED: tl.constexpr,
    OUTER: tl.constexpr, X_ROW: tl.constexpr, Y_ROW: tl.constexpr,
    U: tl.constexpr, SCALE: tl.constexpr, A: tl.constexpr, B: tl.constexpr, PTX: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """y [M, N] from x [M, N]; program (i, j) takes column block i and every j-th group of rows."""
    cols = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    rows = tl.arange(0, BLOCK_M)
    _, scale, offset = _scalars(alpha, shift, SCALE)
    columns = _inside(cols, n, N)
    gain = _per_column(weight, cols, 1.0, columns, per_parameter, PER_PARAMETER)
    base = _per_column(bias, cols, 0.0, columns, per_parameter, PER_PARAMETER)
    base = (base + gain * B)[None, :]
    gain = (gain * A)[None, :]

    GROUP: tl.constexpr = BLOCK_M * UNROLL
    inside = _inside(cols, n, N)[None, :]
    whole = M // GROUP
    for group in range(tl.program_id(1), whole, tl.num_programs(1)):
        row = group * GROUP
        tiles = ()  # all loads before the first store, or they would wait for one another
        for i in tl.static_range(UNROLL):
            at = _tile(x, row, i, rows, cols, span, x_outer, x_row, OUTER, X_ROW)
            tiles = tiles + (_load(at, inside, RAGGED, 1.0),)
        for i in tl.static_range(UNROLL):
            u = U(tiles[i].to(tl.float32) * scale + offset, PTX)
            at = _tile(y, row, i, rows, cols, span, y_outer, y_row, OUTER, Y_ROW)
            _store(at, u * gain + base, inside, RAGGED)

    left = M - whole * GROUP  # fewer than GROUP, so that no sum below can pass 2^31
    for start in range(tl.program_id(1) * BLOCK_M, left, tl.num_programs(1) * BLOCK_M):
        row = whole * GROUP + start
        mask = inside & (rows < left - start)[:, None]
        at = _tile(x, row, 0, rows, cols, span, x_outer, x_row, OUTER, X_ROW)
        tile = _load(at, mask, True, 1.0).to(tl.float32)
        u = U(tile * scale + offset, PTX)
        at = _tile(y, row, 0, rows, cols, span, y_outer, y_row, OUTER, Y_ROW)
        _store(at, u * gain + base, mask, True)


@triton.jit
def _backward_tile(
    dy, x, sums, scale, offset, gain,
    SHIFT: tl.constexpr, WEIGHT: tl.constexpr, DY: tl.constexpr,
    U: tl.constexpr, V: tl.constexpr, PTX: tl.constexpr,
):  # fmt: skip
    """dx of one tile, and the four sums with the tile added (those that are needed).

    What a mask leaves out is loaded as dy = 0, x = 1, and adds 0: at x = 0 an infinite alpha would
    add NaN.
    """
    sum_dy, sum_dy_u, sum_dy_v, sum_x_dy_v = sums
    dy, x = dy.to(tl.float32), x.to(tl.float32)
    z = x * scale + offset
    u = U(z, PTX)
    v = V(z, u, PTX)
    s = dy * v
    if DY:
        sum_dy += dy
    if WEIGHT:
        sum_dy_u += dy * u
    if SHIFT:
        sum_dy_v += s
    sum_x_dy_v += x * s
    return s * gain, (sum_dy, sum_dy_u, sum_dy_v, sum_x_dy_v)


@triton.jit
def _store_partial(
    partial, columns, cols, inside, per_parameter, unknown_zero,
    PER_PARAMETER: tl.constexpr, SLOTS: tl.constexpr,
):  # fmt: skip
    """One program's sum for each parameter that its columns touch: SLOTS values at most."""
    block = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    if PER_PARAMETER == 1:
        tl.store(partial + block * SLOTS + tl.arange(0, SLOTS), columns)
    else:
        parameters = tl.where(inside, _parameter_of(cols, per_parameter, PER_PARAMETER), -1)
        first = _parameter_of(tl.program_id(0) * cols.shape[0], per_parameter, PER_PARAMETER)
        for slot in range(SLOTS + unknown_zero):  # unrolled, 7 slots would take 78 registers
            total = tl.sum(tl.where(parameters == first + slot, columns, 0.0))
            tl.store(partial + block * SLOTS + slot, total)


@triton.jit(do_not_specialize=["M", "span", "dy_outer", "x_outer", "dx_outer"])
def backward_kernel(
    dy, x, dx, alpha, shift, weight,
    partial_alpha, partial_shift, partial_weight, partial_bias,
    M, span, dy_outer, x_outer, dx_outer,
    n, per_parameter, dy_row, x_row, dx_row,
    N: tl.constexpr, PER_PARAMETER: tl.constexpr, RAGGED: tl.constexpr,
    OUTER: tl.constexpr, DY_ROW: tl.constexpr, X_ROW: tl.constexpr, DX_ROW: tl.constexpr,
    SLOTS: tl.constexpr,
    U: tl.constexpr, V: tl.constexpr,
    SCALE: tl.constexpr, A: tl.constexpr, B: tl.constexpr, D: tl.constexpr, PTX: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """dx [M, N], and each program's share of the parameters' gradients; grid as forward."""
    cols = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    rows = tl.arange(0, BLOCK_M)
    plain, scale, offset = _scalars(alpha, shift, SCALE)
    columns = _inside(cols, n, N)
    gain = _per_column(weight, cols, 1.0, columns, per_parameter, PER_PARAMETER)[None, :]
    gain *= D * plain
    SHIFT: tl.constexpr = shift is not None
    WEIGHT: tl.constexpr = weight is not None
    DY: tl.constexpr = (partial_bias is not None) or (WEIGHT and B != 0)

    GROUP: tl.constexpr = BLOCK_M * UNROLL
    inside = _inside(cols, n, N)[None, :]
    zero = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    sums = (zero, zero, zero, zero)
    whole = M // GROUP
    for group in range(tl.program_id(1), whole, tl.num_programs(1)):
        row = group * GROUP
        tiles = ()
        for i in tl.static_range(UNROLL):
            dy_at = _tile(dy, row, i, rows, cols, span, dy_outer, dy_row, OUTER, DY_ROW)
            x_at = _tile(x, row, i, rows, cols, span, x_outer, x_row, OUTER, X_ROW)
            tiles = tiles + (_load(dy_at, inside, RAGGED, 0), _load(x_at, inside, RAGGED, 1.0))
        for i in tl.static_range(UNROLL):
            out, sums = _backward_tile(
                tiles[2 * i], tiles[2 * i + 1], sums, scale, offset, gain,
                SHIFT, WEIGHT, DY, U, V, PTX,
            )  # fmt: skip
            at = _tile(dx, row, i, rows, cols, span, dx_outer, dx_row, OUTER, DX_ROW)
            _store(at, out, inside, RAGGED)

    left = M - whole * GROUP  # fewer than GROUP, so that no sum below can pass 2^31
    for start in range(tl.program_id(1) * BLOCK_M, left, tl.num_programs(1) * BLOCK_M):
        row = whole * GROUP + start
        mask = inside & (rows < left - start)[:, None]
        dy_at = _tile(dy, row, 0, rows, cols, span, dy_outer, dy_row, OUTER, DY_ROW)
        x_at = _tile(x, row, 0, rows, cols, span, x_outer, x_row, OUTER, X_ROW)
        out, sums = _backward_tile(
            _load(dy_at, mask, True, 0), _load(x_at, mask, True, 1.0), sums, scale, offset, gain,
            SHIFT, WEIGHT, DY, U, V, PTX,
        )  # fmt: skip
        at = _tile(dx, row, 0, rows, cols, span, dx_outer, dx_row, OUTER, DX_ROW)
        _store(at, out, mask, True)

    sum_dy, sum_dy_u, sum_dy_v, sum_x_dy_v = sums
    # Columns and weights are computed again, from what the compiler cannot know to be the same
    # number: kept through the loop they would take 8 to 16 registers, and channels-first code
    # would spill.
    unknown_zero = tl.minimum(M, 0).to(tl.int32)
    cols = (tl.program_id(0) + unknown_zero) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = _inside(cols, n, N)
    gain = _per_column(weight, cols, 1.0, inside, per_parameter, PER_PARAMETER)[None, :] * D
    program = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    tl.store(partial_alpha + program, tl.sum(sum_x_dy_v * gain))
    if SHIFT:
        tl.store(partial_shift + program, tl.sum(sum_dy_v * gain))
    if WEIGHT:
        columns = tl.sum(A * sum_dy_u + B * sum_dy, axis=0)
        _store_partial(
            partial_weight, columns, cols, inside, per_parameter, unknown_zero,
            PER_PARAMETER, SLOTS,
        )  # fmt: skip
    if partial_bias is not None:
        columns = tl.sum(sum_dy, axis=0)
        _store_partial(
            partial_bias, columns, cols, inside, per_parameter, unknown_zero, PER_PARAMETER, SLOTS
        )


@triton.jit
def _sum_scalar(partial, out, count, BLOCK: tl.constexpr):
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, count, BLOCK):
        at = start + tl.arange(0, BLOCK)
        total += tl.load(partial + at, mask=at < count, other=0)
    tl.store(out, tl.sum(total).to(out.dtype.element_ty))


@triton.jit
def _sum_columns(
    partial, out, first, programs, blocks, per_parameter,
    PARAMETERS: tl.constexpr, PER_PARAMETER: tl.constexpr, SLOTS: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Parameters first .. first + BLOCK_C of one gradient: over programs, then column blocks."""
    if PER_PARAMETER == 1:
        share = 1
        touched = 1
    else:
        share = per_parameter
        touched = (per_parameter - 1) // BLOCK_N + 2  # blocks that have columns of one parameter
    parameter = (first + tl.arange(0, BLOCK_C))[None, :]
    total = tl.zeros([BLOCK_P, BLOCK_C], tl.float32)
    for start in range(0, programs * touched, BLOCK_P):
        term = (start + tl.arange(0, BLOCK_P))[:, None]
        block = parameter * share // BLOCK_N + term % touched
        slot = parameter - block * BLOCK_N // share
        mask = (term < programs * touched) & (parameter < PARAMETERS)
        mask &= block * BLOCK_N < (parameter + 1) * share
        at = (term // touched * blocks + block) * SLOTS
        total += tl.load(partial + at + slot, mask=mask, other=0)
    at = first + tl.arange(0, BLOCK_C)
    values = tl.sum(total, axis=0).to(out.dtype.element_ty)
    tl.store(out + at, values, mask=at < PARAMETERS)


@triton.jit(do_not_specialize=["programs", "blocks"])
def reduce_kernel(
    partial_alpha, partial_shift, partial_weight, partial_bias,
    dalpha, dshift, dweight, dbias, programs, blocks, per_parameter,
    PARAMETERS: tl.constexpr, PER_PARAMETER: tl.constexpr, SLOTS: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """The parameters' gradients from the partial sums, always in the same order.

    Program 0 adds up the scalars; the others take BLOCK_C parameters each.
    """
    if tl.program_id(0) == 0:
        # One program reads one sum from every program of the backward pass: many at a time.
        SCALARS: tl.constexpr = 4 * BLOCK_P * BLOCK_C
        _sum_scalar(partial_alpha, dalpha, programs * blocks, SCALARS)
        if partial_shift is not None:
            _sum_scalar(partial_shift, dshift, programs * blocks, SCALARS)
    else:
        first = (tl.program_id(0) - 1) * BLOCK_C
        if partial_weight is not None:
            _sum_columns(
                partial_weight, dweight, first, programs, blocks, per_parameter,
                PARAMETERS, PER_PARAMETER, SLOTS, BLOCK_N, BLOCK_P, BLOCK_C,
            )  # fmt: skip
        if partial_bias is not None:
            _sum_columns(
                partial_bias, dbias, first, programs, blocks, per_parameter,
                PARAMETERS, PER_PARAMETER, SLOTS, BLOCK_N, BLOCK_P, BLOCK_C,
            )  # fmt: skip
