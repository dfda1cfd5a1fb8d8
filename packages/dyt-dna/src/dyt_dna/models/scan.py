"""The selective scan of Mamba (arXiv 2312.00752, section 3.2), fast enough to train on a CPU."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

# Steps whose states are in memory at a time. Those of a small model (2 x 2 x 128 x 16 numbers a
# step) then stay in a core's cache, and memory grows with length / SEGMENT states, not length.
SEGMENT = 32


def selective_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """``y_t = C_t h_t`` of the state ``h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t``, ``h_0 = 0``.

    R directions, each with its own matrix A, are scanned at once. Shapes: L steps, B sequences,
    D channels, N states a channel; ``x`` and ``dt`` (L, R, B, D), ``a`` (R, D, N), ``b`` and
    ``c`` (L, R, B, N) -> (L, R, B, D). Computed in float32 at least, returned in x's dtype.

    The steps run one after another, each a single fused call; all else is done for SEGMENT steps
    at once. The backward pass recomputes the states from those at the segments' borders.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        y: Tensor = _Scan.apply(*(part.to(dtype) for part in (x, dt, a, b, c)))
    return y.to(x.dtype)


class _Scan(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        a = a.mT.unsqueeze(1).contiguous()  # (R, 1, N, D): channels last, as in all that is large
        work = _Segment(x, a)
        y, borders = torch.empty_like(x), [torch.zeros_like(work.states[0])]
        for part in _segments(len(x)):
            _, _, states = work.run(borders[-1], x[part], dt[part], b[part])
            y[part] = (c[part].unsqueeze(-2) @ states).squeeze(-2)
            borders.append(states[-1].clone())
        ctx.save_for_backward(x, dt, a, b, c, *borders[:-1])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, ...]:
        x, dt, a, b, c, *borders = ctx.saved_tensors
        work = _Segment(x, a)
        grads = torch.empty_like(work.states)
        dx, ddt, db, dc = map(torch.empty_like, (x, dt, b, c))
        da, later = torch.zeros_like(borders[0]), torch.zeros_like(borders[0])
        for part, border in reversed(list(zip(_segments(len(x)), borders, strict=True))):
            decay, added, states = work.run(border, x[part], dt[part], b[part])
            # The states' gradient: by the output, and by the next state.
            grad = grads[: len(states)]
            torch.mul(c[part].unsqueeze(-1), dy[part].unsqueeze(-2), out=grad)
            for here, keeps in reversed(list(zip(grad.unbind(), decay.unbind(), strict=True))):
                torch.mul(keeps, here.add_(later), out=later)
            dc[part] = (states @ dy[part].unsqueeze(-1)).squeeze(-1)
            dadded = (b[part].unsqueeze(-2) @ grad).squeeze(-2)  # of dt x
            db[part] = (grad @ (dt[part] * x[part]).unsqueeze(-1)).squeeze(-1)
            dlog = states.sub_(added).mul_(grad)  # of dt A: what came from the state before
            dx[part] = dadded * dt[part]
            ddt[part] = dadded * x[part] + torch.mul(dlog, a, out=added).sum(dim=-2)
            da += dlog.mul_(dt[part].unsqueeze(-2)).sum(dim=0)
        return dx, ddt, da.sum(dim=1).mT, db, dc


def _segments(length: int) -> list[slice]:
    return [slice(start, min(start + SEGMENT, length)) for start in range(0, length, SEGMENT)]


class _Segment:
    """Buffers (T, R, B, N, D) for the steps of a segment, reused for each segment."""

    def __init__(self, x: Tensor, a: Tensor) -> None:
        length, directions, batch, channels = x.shape
        shape = min(SEGMENT, length), directions, batch, a.shape[-2], channels
        self.a = a
        self.decay, self.added, self.states = (x.new_empty(shape) for _ in range(3))

    def run(self, state: Tensor, x: Tensor, dt: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The decays exp(dt A), what each step adds, and the states that follow ``state``."""
        decay, added, states = (room[: len(x)] for room in (self.decay, self.added, self.states))
        torch.mul(dt.unsqueeze(-2), self.a, out=decay).exp_()
        torch.mul(b.unsqueeze(-1), (dt * x).unsqueeze(-2), out=added)
        for new, keeps, adds in zip(states.unbind(), decay.unbind(), added.unbind(), strict=True):
            state = torch.addcmul(adds, keeps, state, out=new)
        return decay, added, states
