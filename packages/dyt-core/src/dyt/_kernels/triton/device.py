"""The Triton kernels: device code, for any formula of `dyt._kernels.triton.functions`."""

# Triton's decorator and its tensors have no types that mypy could check a kernel with.
# It compiles `if` on a constant as a statement, and a tuple by its operators, not by unpacking.
# ruff: noqa: RUF005, SIM108
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,misc,assignment"

import triton
import triton.language as tl


@triton.jit
def _tile(
    start, row, i: tl.constexpr, rows, cols, span, outer, OUTER: tl.constexpr, ROW: tl.constexpr
):
    """Pointers to the i-th tile below a row; offsets of rows are 64 bits where 32 could wrap.

    OUTER == 0: rows are ROW apart. Otherwise span rows are, in blocks OUTER * outer apart: the
    constant factor tells the compiler how the blocks are aligned, the other varies with shapes.
    """
    BELOW: tl.constexpr = i * rows.shape[0]
    if OUTER == 0:
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
def _per_column(parameter, cols, default, N: tl.constexpr, PER_PARAMETER: tl.constexpr):
    """A parameter's value for each column, in fp32; the default where it is None."""
    if parameter is None:
        values = tl.full([cols.shape[0]], default, tl.float32)
    else:
        at = parameter + cols // PER_PARAMETER
        values = tl.load(at, mask=cols < N, other=0).to(tl.float32)
    return values


@triton.jit(do_not_specialize=["M", "span", "x_outer", "y_outer"])
def forward_kernel(
    x, y, alpha, shift, weight, bias, M, span, x_outer, y_outer,
    N: tl.constexpr, PER_PARAMETER: tl.constexpr,
    OUTER: tl.constexpr, X_ROW: tl.constexpr, Y_ROW: tl.constexpr,
    U: tl.constexpr, SCALE: tl.constexpr, A: tl.constexpr, B: tl.constexpr, PTX: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """y [M, N] from x [M, N]; program (i, j) takes column block i and every j-th group of rows."""
    cols = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    rows = tl.arange(0, BLOCK_M)
    _, scale, offset = _scalars(alpha, shift, SCALE)
    gain = _per_column(weight, cols, 1.0, N, PER_PARAMETER)
    base = _per_column(bias, cols, 0.0, N, PER_PARAMETER)
    base = (base + gain * B)[None, :]
    gain = (gain * A)[None, :]

    GROUP: tl.constexpr = BLOCK_M * UNROLL
    RAGGED: tl.constexpr = N % BLOCK_N != 0
    inside = (cols < N)[None, :]
    whole = M // GROUP
    for group in range(tl.program_id(1), whole, tl.num_programs(1)):
        row = group * GROUP
        tiles = ()  # all loads before the first store, or they would wait for one another
        for i in tl.static_range(UNROLL):
            at = _tile(x, row, i, rows, cols, span, x_outer, OUTER, X_ROW)
            tiles = tiles + (_load(at, inside, RAGGED, 1.0),)
        for i in tl.static_range(UNROLL):
            u = U(tiles[i].to(tl.float32) * scale + offset, PTX)
            at = _tile(y, row, i, rows, cols, span, y_outer, OUTER, Y_ROW)
            _store(at, u * gain + base, inside, RAGGED)

    left = M - whole * GROUP  # fewer than GROUP, so that no sum below can pass 2^31
    for start in range(tl.program_id(1) * BLOCK_M, left, tl.num_programs(1) * BLOCK_M):
        row = whole * GROUP + start
        mask = inside & (rows < left - start)[:, None]
        at = _tile(x, row, 0, rows, cols, span, x_outer, OUTER, X_ROW)
        tile = _load(at, mask, True, 1.0).to(tl.float32)
        u = U(tile * scale + offset, PTX)
        at = _tile(y, row, 0, rows, cols, span, y_outer, OUTER, Y_ROW)
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
    partial, columns, cols, unknown_zero,
    N: tl.constexpr, PER_PARAMETER: tl.constexpr, SLOTS: tl.constexpr,
):  # fmt: skip
    """One program's sum for each parameter that its columns touch: SLOTS values at most."""
    block = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    if PER_PARAMETER == 1:
        tl.store(partial + block * SLOTS + tl.arange(0, SLOTS), columns)
    else:
        parameters = tl.where(cols < N, cols // PER_PARAMETER, -1)
        first = tl.program_id(0) * cols.shape[0] // PER_PARAMETER
        for slot in range(SLOTS + unknown_zero):  # unrolled, 7 slots would take 78 registers
            total = tl.sum(tl.where(parameters == first + slot, columns, 0.0))
            tl.store(partial + block * SLOTS + slot, total)


@triton.jit(do_not_specialize=["M", "span", "dy_outer", "x_outer", "dx_outer"])
def backward_kernel(
    dy, x, dx, alpha, shift, weight,
    partial_alpha, partial_shift, partial_weight, partial_bias,
    M, span, dy_outer, x_outer, dx_outer,
    N: tl.constexpr, PER_PARAMETER: tl.constexpr,
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
    gain = _per_column(weight, cols, 1.0, N, PER_PARAMETER)[None, :] * (D * plain)
    SHIFT: tl.constexpr = shift is not None
    WEIGHT: tl.constexpr = weight is not None
    DY: tl.constexpr = (partial_bias is not None) or (WEIGHT and B != 0)

    GROUP: tl.constexpr = BLOCK_M * UNROLL
    RAGGED: tl.constexpr = N % BLOCK_N != 0
    inside = (cols < N)[None, :]
    zero = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    sums = (zero, zero, zero, zero)
    whole = M // GROUP
    for group in range(tl.program_id(1), whole, tl.num_programs(1)):
        row = group * GROUP
        tiles = ()
        for i in tl.static_range(UNROLL):
            dy_at = _tile(dy, row, i, rows, cols, span, dy_outer, OUTER, DY_ROW)
            x_at = _tile(x, row, i, rows, cols, span, x_outer, OUTER, X_ROW)
            tiles = tiles + (_load(dy_at, inside, RAGGED, 0), _load(x_at, inside, RAGGED, 1.0))
        for i in tl.static_range(UNROLL):
            out, sums = _backward_tile(
                tiles[2 * i], tiles[2 * i + 1], sums, scale, offset, gain,
                SHIFT, WEIGHT, DY, U, V, PTX,
            )  # fmt: skip
            _store(
                _tile(dx, row, i, rows, cols, span, dx_outer, OUTER, DX_ROW), out, inside, RAGGED
            )

    left = M - whole * GROUP  # fewer than GROUP, so that no sum below can pass 2^31
    for start in range(tl.program_id(1) * BLOCK_M, left, tl.num_programs(1) * BLOCK_M):
        row = whole * GROUP + start
        mask = inside & (rows < left - start)[:, None]
        dy_at = _tile(dy, row, 0, rows, cols, span, dy_outer, OUTER, DY_ROW)
        x_at = _tile(x, row, 0, rows, cols, span, x_outer, OUTER, X_ROW)
        out, sums = _backward_tile(
            _load(dy_at, mask, True, 0), _load(x_at, mask, True, 1.0), sums, scale, offset, gain,
            SHIFT, WEIGHT, DY, U, V, PTX,
        )  # fmt: skip
        _store(_tile(dx, row, 0, rows, cols, span, dx_outer, OUTER, DX_ROW), out, mask, True)

    sum_dy, sum_dy_u, sum_dy_v, sum_x_dy_v = sums
    # Columns and weights are computed again, from what the compiler cannot know to be the same
    # number: kept through the loop they would take 8 to 16 registers, and channels-first code
    # would spill.
    unknown_zero = tl.minimum(M, 0).to(tl.int32)
    cols = (tl.program_id(0) + unknown_zero) * BLOCK_N + tl.arange(0, BLOCK_N)
    gain = _per_column(weight, cols, 1.0, N, PER_PARAMETER)[None, :] * D
    program = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    tl.store(partial_alpha + program, tl.sum(sum_x_dy_v * gain))
    if SHIFT:
        tl.store(partial_shift + program, tl.sum(sum_dy_v * gain))
    if WEIGHT:
        columns = tl.sum(A * sum_dy_u + B * sum_dy, axis=0)
        _store_partial(partial_weight, columns, cols, unknown_zero, N, PER_PARAMETER, SLOTS)
    if partial_bias is not None:
        columns = tl.sum(sum_dy, axis=0)
        _store_partial(partial_bias, columns, cols, unknown_zero, N, PER_PARAMETER, SLOTS)


@triton.jit
def _sum_scalar(partial, out, count, BLOCK: tl.constexpr):
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, count, BLOCK):
        at = start + tl.arange(0, BLOCK)
        total += tl.load(partial + at, mask=at < count, other=0)
    tl.store(out, tl.sum(total).to(out.dtype.element_ty))


@triton.jit
def _sum_columns(
    partial, out, first, programs, blocks,
    PARAMETERS: tl.constexpr, PER_PARAMETER: tl.constexpr, SLOTS: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Parameters first .. first + BLOCK_C of one gradient: over programs, then column blocks."""
    TOUCHED: tl.constexpr = 1 if PER_PARAMETER == 1 else (PER_PARAMETER - 1) // BLOCK_N + 2
    parameter = (first + tl.arange(0, BLOCK_C))[None, :]
    total = tl.zeros([BLOCK_P, BLOCK_C], tl.float32)
    for start in range(0, programs * TOUCHED, BLOCK_P):
        term = (start + tl.arange(0, BLOCK_P))[:, None]
        block = parameter * PER_PARAMETER // BLOCK_N + term % TOUCHED
        slot = parameter - block * BLOCK_N // PER_PARAMETER
        mask = (term < programs * TOUCHED) & (parameter < PARAMETERS)
        mask &= block * BLOCK_N < (parameter + 1) * PER_PARAMETER
        at = (term // TOUCHED * blocks + block) * SLOTS
        total += tl.load(partial + at + slot, mask=mask, other=0)
    at = first + tl.arange(0, BLOCK_C)
    values = tl.sum(total, axis=0).to(out.dtype.element_ty)
    tl.store(out + at, values, mask=at < PARAMETERS)


@triton.jit(do_not_specialize=["programs", "blocks"])
def reduce_kernel(
    partial_alpha, partial_shift, partial_weight, partial_bias,
    dalpha, dshift, dweight, dbias, programs, blocks,
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
                partial_weight, dweight, first, programs, blocks,
                PARAMETERS, PER_PARAMETER, SLOTS, BLOCK_N, BLOCK_P, BLOCK_C,
            )  # fmt: skip
        if partial_bias is not None:
            _sum_columns(
                partial_bias, dbias, first, programs, blocks,
                PARAMETERS, PER_PARAMETER, SLOTS, BLOCK_N, BLOCK_P, BLOCK_C,
            )  # fmt: skip
