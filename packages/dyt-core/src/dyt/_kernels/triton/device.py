"""The Triton kernels: device code only, launched by `dyt._kernels.triton`.

Every function of the family is written as ``f(z) = A * u + B`` and ``f'(z) = D * v`` with two
core expressions u and v of ``IN * z``, so that the constants fold into per-column registers
outside the loop: ``y = u * (A * weight) + (B * weight + bias)`` is one fused multiply-add.

The interpreter can run every expression here: no libdevice, and the one line of assembly has
a plain twin. Polynomials are minimax fits of the relative error on the named interval, with
their error in units of 2^-24 in brackets.
"""

# Triton's decorator and its tensors have no types that mypy could check a kernel with.
# It compiles `if` on a constant as a statement, and a tuple by its operators, not by unpacking.
# ruff: noqa: RUF005, SIM108
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,misc,assignment"

import math

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
HALF_PI = tl.constexpr(1.5707963267948966)


@triton.constexpr_function
def input_scale(function, accurate):
    """IN: what alpha and shift are multiplied by before the loop."""
    return 2 / math.log(2) if function == "tanh" and not accurate else 1.0


@triton.constexpr_function
def slope(function, accurate):
    """A of ``f = A * u + B``."""
    if function == "tanh" and not accurate:
        return -2.0
    return 2 / math.pi if function == "arctan" else 1.0


@triton.constexpr_function
def constant(function, accurate):
    """B of ``f = A * u + B``."""
    return 1.0 if function == "tanh" and not accurate else 0.0


@triton.constexpr_function
def derivative_scale(function, accurate):
    """D of ``f' = D * v``."""
    if function == "tanh" and not accurate:
        return 4.0
    return {"arctan": 2 / math.pi, "erf": 2 / math.sqrt(math.pi)}.get(function, 1.0)


@triton.jit
def _reciprocal(d, PTX: tl.constexpr):
    """1 / d for d >= 1, to one unit in the last place.

    Division guards against a reciprocal outside the normal range at four instructions an
    element, half of what all the rest of the forward pass takes; from 1 up there is none.
    """
    if PTX:
        r = tl.inline_asm_elementwise(
            "rcp.approx.ftz.f32 $0, $1;", "=f,f", [d], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        r = 1.0 / d
    return r


@triton.jit
def _tanh(z, PTX: tl.constexpr):
    """At most 4 ulp: odd polynomial below 0.62 (1.9), above it 1 - 2 / (1 + e^2|z|).

    A GPU's exponential and reciprocal may be off by 2^-22 and 2^-23. Where the pieces meet that
    costs most: 3.9 ulp at 0.62, 4.2 at 0.55 with a polynomial that is closer (0.6).
    """
    square = z * z
    p = square * 0.015278990094662746 - 0.052002525910953626
    p = p * square + 0.13309230907230168
    p = p * square - 0.33332397739419206
    near = (p * square) * z + z
    magnitude = tl.abs(z)
    far = 1.0 - 2.0 * _reciprocal(1.0 + tl.exp2(magnitude * (2.0 * LOG2_E)), PTX)
    return tl.where(magnitude < 0.62, near, tl.where(z < 0, -far, far))


@triton.jit
def _erf(z):
    """Odd polynomial below 0.9 (0.2); above it 1 - 2^Q(|z|), Q fitted to log2(erfc) (0.5).

    Q falls for ever, so that large arguments and infinities saturate without a clamp.
    """
    square = z * z
    p = square * -0.0006090385115199805 + 0.005011968455902573
    p = p * square - 0.026778913520469447
    p = p * square + 0.11282140976907692
    p = p * square - 0.3761252330044288
    p = p * square + 0.12837915380732  # the constant term less one
    near = p * z + z
    a = tl.abs(z)
    q = a * -0.001819795550049613 + 0.022581901119928798
    q = q * a - 0.13175099891794817
    q = q * a - 0.938406360872401
    q = q * a - 1.6163924147038236
    q = q * a - 0.0026289579426904026
    far = 1.0 - tl.exp2(q)
    return tl.where(a < 0.9, near, tl.where(z < 0, -far, far))


@triton.jit
def _atan(z, PTX: tl.constexpr):
    """Polynomial on [0, 1] (0.3); above 1, pi/2 less that of the inverse."""
    magnitude = tl.abs(z)
    large = magnitude > 1.0
    a = tl.where(large, _reciprocal(magnitude, PTX), magnitude)
    s = a * a
    p = s * 0.002849935323240194 - 0.016068822933384137
    p = p * s + 0.042691858183350015
    p = p * s - 0.07504325949182913
    p = p * s + 0.10640950597669428
    p = p * s - 0.14203649423660222
    p = p * s + 0.1999262017731394
    p = p * s - 0.33333073400883767
    p = (p * s) * a + a
    p = tl.where(large, HALF_PI - p, p)
    return tl.where(z < 0, -p, p)


@triton.jit
def _clip(z, bound: tl.constexpr):
    """z clipped to +-bound; a comparison with NaN is false, so NaN stays."""
    return tl.where(z > bound, bound, tl.where(z < -bound, -bound, z))


@triton.jit
def _sin(c):
    """On [-pi/2, pi/2] (0.1)."""
    s = c * c
    p = s * 2.6019056555230305e-06 - 0.0001980742019899059
    p = p * s + 0.008333025167078336
    p = p * s - 0.1666665668602029
    return (p * s) * c + c


@triton.jit
def _cos(c):
    """On [-pi/2, pi/2], absolute error below 2^-24."""
    s = c * c
    p = s * -2.6051512668844975e-07 + 2.476016253547456e-05
    p = p * s - 0.0013888361429425674
    p = p * s + 0.04166663626121304
    p = p * s - 0.49999999358610125
    return p * s + 1.0


@triton.jit
def value(z, FUNCTION: tl.constexpr, ACCURATE: tl.constexpr, PTX: tl.constexpr):
    """u, of which f is ``slope * u + constant``; z is scaled by `input_scale`."""
    if FUNCTION == "tanh":
        if ACCURATE:
            u = _tanh(z, PTX)
        else:
            u = _reciprocal(1.0 + tl.exp2(z), PTX)
    elif FUNCTION == "erf":
        u = _erf(z)
    elif FUNCTION == "isru":
        u = z * tl.rsqrt(1.0 + z * z)
    elif FUNCTION == "hardtanh":
        u = _clip(z, 1.0)
    elif FUNCTION == "arctan":
        u = _atan(z, PTX)
    elif FUNCTION == "satursin":
        u = _sin(_clip(z, HALF_PI))
    else:
        tl.static_assert(FUNCTION == "softsign")
        u = z * _reciprocal(1.0 + tl.abs(z), PTX)
    return u


@triton.jit
def value_and_derivative(z, FUNCTION: tl.constexpr, ACCURATE: tl.constexpr, PTX: tl.constexpr):
    """u and v, of which f' is ``derivative_scale * v``."""
    u = value(z, FUNCTION, ACCURATE, PTX)
    if FUNCTION == "tanh":
        if ACCURATE:
            v = 1.0 - u * u
        else:
            v = u - u * u
    elif FUNCTION == "erf":
        v = tl.exp2((z * z) * -LOG2_E)
    elif FUNCTION == "isru":
        root = tl.rsqrt(1.0 + z * z)
        v = root * root * root
    elif FUNCTION == "hardtanh":
        v = tl.where(tl.abs(z) <= 1.0, 1.0, tl.where(z == z, 0.0, z))
    elif FUNCTION == "arctan":
        v = _reciprocal(1.0 + z * z, PTX)
    elif FUNCTION == "satursin":
        v = _cos(_clip(z, HALF_PI))
    else:
        root = _reciprocal(1.0 + tl.abs(z), PTX)
        v = root * root
    return u, v


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
def _scalars(alpha, shift, FUNCTION: tl.constexpr, ACCURATE: tl.constexpr):
    """alpha, alpha * IN and shift * IN (0 where there is no shift), in fp32."""
    plain = tl.load(alpha).to(tl.float32)
    IN: tl.constexpr = input_scale(FUNCTION, ACCURATE)
    offset = 0.0
    if shift is not None:
        offset = tl.load(shift).to(tl.float32) * IN
    return plain, plain * IN, offset


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
    FUNCTION: tl.constexpr, ACCURATE: tl.constexpr, PTX: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """y [M, N] from x [M, N]; program (i, j) takes column block i and every j-th group of rows."""
    cols = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    rows = tl.arange(0, BLOCK_M)
    _, scale, offset = _scalars(alpha, shift, FUNCTION, ACCURATE)
    gain = _per_column(weight, cols, 1.0, N, PER_PARAMETER)
    base = _per_column(bias, cols, 0.0, N, PER_PARAMETER)
    base = (base + gain * constant(FUNCTION, ACCURATE))[None, :]
    gain = (gain * slope(FUNCTION, ACCURATE))[None, :]

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
            u = value(tiles[i].to(tl.float32) * scale + offset, FUNCTION, ACCURATE, PTX)
            at = _tile(y, row, i, rows, cols, span, y_outer, OUTER, Y_ROW)
            _store(at, u * gain + base, inside, RAGGED)

    left = M - whole * GROUP  # fewer than GROUP, so that no sum below can pass 2^31
    for start in range(tl.program_id(1) * BLOCK_M, left, tl.num_programs(1) * BLOCK_M):
        row = whole * GROUP + start
        mask = inside & (rows < left - start)[:, None]
        at = _tile(x, row, 0, rows, cols, span, x_outer, OUTER, X_ROW)
        tile = _load(at, mask, True, 1.0).to(tl.float32)
        u = value(tile * scale + offset, FUNCTION, ACCURATE, PTX)
        at = _tile(y, row, 0, rows, cols, span, y_outer, OUTER, Y_ROW)
        _store(at, u * gain + base, mask, True)


@triton.jit
def _backward_tile(
    dy, x, sums, scale, offset, gain,
    SHIFT: tl.constexpr, WEIGHT: tl.constexpr, DY: tl.constexpr,
    FUNCTION: tl.constexpr, ACCURATE: tl.constexpr, PTX: tl.constexpr,
):  # fmt: skip
    """dx of one tile, and the four sums with the tile added (those that are asked for).

    What a mask leaves out comes as dy = 0, x = 1, and adds 0: at x = 0 an infinite alpha would
    add NaN.
    """
    sum_dy, sum_dy_u, sum_dy_v, sum_x_dy_v = sums
    dy, x = dy.to(tl.float32), x.to(tl.float32)
    u, v = value_and_derivative(x * scale + offset, FUNCTION, ACCURATE, PTX)
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
    FUNCTION: tl.constexpr, ACCURATE: tl.constexpr, PTX: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """dx [M, N], and each program's share of the parameters' gradients; grid as forward."""
    cols = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    rows = tl.arange(0, BLOCK_M)
    plain, scale, offset = _scalars(alpha, shift, FUNCTION, ACCURATE)
    A: tl.constexpr = slope(FUNCTION, ACCURATE)
    B: tl.constexpr = constant(FUNCTION, ACCURATE)
    D: tl.constexpr = derivative_scale(FUNCTION, ACCURATE)
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
                SHIFT, WEIGHT, DY, FUNCTION, ACCURATE, PTX,
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
            SHIFT, WEIGHT, DY, FUNCTION, ACCURATE, PTX,
        )  # fmt: skip
        _store(_tile(dx, row, 0, rows, cols, span, dx_outer, OUTER, DX_ROW), out, mask, True)

    sum_dy, sum_dy_u, sum_dy_v, sum_x_dy_v = sums
    # Columns and weights are worked out again, from what the compiler cannot know to be the same
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
