"""Read the Triton kernels' machine code, compiled for GPUs that this machine need not have.

Shows for each target the figures that decide whether an element-wise kernel keeps up with memory:
instructions per element in the main loop, registers, spills, and whether accesses are 128 bits
wide. Compiling needs no GPU; the disassemblers come with Triton.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import triton
from rich.console import Console
from rich.table import Table
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dyt._kernels.triton import device, launcher
from dyt._kernels.triton.functions import FUNCTIONS

TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
TARGETS: dict[str, GPUTarget] = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
ITEMSIZE = {"bf16": 2, "fp16": 2, "fp32": 4}
INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)(.*)")


@dataclass(frozen=True)
class Figures:
    """Figures of the machine code; the loop is the main one, which has no masks."""

    registers: int
    spills: int  # bytes of stack plus instructions that reach it
    per_element: float  # instructions in the loop, per element
    special: float  # of those, the ones for the special function unit (exp2, reciprocal)
    wide_share: float  # of the loop's bytes, those in accesses of 128 bits
    waits: int  # barriers and shuffles in the loop
    branches: int  # in the loop, but for the one that closes it


@dataclass(frozen=True)
class Case:
    """A kernel to compile, as the launcher would for tensors like these."""

    direction: str  # "forward", "backward" or "reduce", the backward pass's second launch
    target: str
    dtype: str = "bf16"
    rows: int = 8192
    columns: int = 4096
    function: str = "tanh"
    affine: str = "both"  # or "weight", or "none"
    per_parameter: int = 1  # H * W in channels-first order
    outer: int = 0  # alignment of blocks of rows, where they have gaps between them
    rough: bool = False  # as with DYT_TANH_APPROX=1

    @property
    def tile(self) -> launcher.Tile:
        launch = launcher.FORWARD if self.direction == "forward" else launcher.BACKWARD
        lanes = TARGETS[self.target].warp_size
        return launcher.choose_tile(self.rows, self.columns, ITEMSIZE[self.dtype], launch, lanes)


def build(case: Case) -> Any:
    """The kernel, compiled from the present sources and not taken from Triton's cache."""
    gpu, tile = TARGETS[case.target], case.tile
    kernel = getattr(device, f"{case.direction}_kernel")
    slots = 1 << ((tile.block_n - 1) // case.per_parameter + 1).bit_length()
    known = case.per_parameter == 1  # else the width and what follows of it are arguments
    formula = FUNCTIONS[case.function].formula(case.dtype == "fp32", case.rough)
    fixed: dict[str, Any] = {
        "N": case.columns if known else None, "PER_PARAMETER": 1 if known else None,
        "RAGGED": case.columns % tile.block_n != 0,
        "OUTER": case.outer, "SLOTS": tile.block_n if known else slots,
        "U": formula.u, "V": formula.v, "SCALE": formula.scale,
        "A": formula.a, "B": formula.b, "D": formula.d, "PTX": gpu.backend == "cuda",
        "BLOCK_M": tile.block_m, "BLOCK_N": tile.block_n, "UNROLL": tile.unroll,
        "PARAMETERS": case.columns // case.per_parameter, "BLOCK_P": 32, "BLOCK_C": gpu.warp_size,
    }  # fmt: skip
    fixed |= dict.fromkeys(("X_ROW", "Y_ROW", "DX_ROW", "DY_ROW"), case.columns if known else None)
    options: dict[str, int] = {"num_warps": tile.warps}
    if case.direction == "backward" and gpu.backend == "cuda":
        options |= launcher.compiler_options(gpu.arch)
    with triton.knobs.compilation.scope():
        triton.knobs.compilation.always_compile = True
        return triton.compile(_source(kernel, case, fixed), target=gpu, options=options)


def _source(kernel: Any, case: Case, fixed: dict[str, Any]) -> ASTSource:
    """The kernel with fp32 parameters, no shift, all pointers 16-byte aligned."""
    types = dict.fromkeys(("x", "y", "dy", "dx"), f"*{case.dtype}")
    widths = ("n", "per_parameter", "x_row", "y_row", "dx_row", "dy_row")
    outer = ("x_outer", "y_outer", "dy_outer", "dx_outer")
    scalars = ("M", "span", *outer, "programs", "blocks", *widths)
    types |= dict.fromkeys(scalars, "i32")
    types["M"] = "i64" if case.rows >= 2**31 else "i32"
    present = ["alpha"] + ["weight"] * (case.affine != "none") + ["bias"] * (case.affine == "both")
    for name in present:
        types |= dict.fromkeys((name, f"partial_{name}", f"d{name}"), "*fp32")
    names = kernel.arg_names
    signature = {name: types.get(name, "constexpr") for name in names}
    constants = {(names.index(n),): fixed.get(n) for n in names if signature[n] == "constexpr"}
    sizes = dict.fromkeys(widths, case.columns) | {"per_parameter": case.per_parameter}
    multiples = [n for n in widths if sizes[n] % 16 == 0]  # as Triton's launcher finds
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, n in enumerate(names)
        if signature[n][0] == "*" or n in multiples
    }
    return ASTSource(kernel, signature, constants, aligned)


@cache
def figures(case: Case) -> Figures:
    """Compile and read."""
    kernel, gpu, tile = build(case), TARGETS[case.target], case.tile
    elements = tile.block_m * tile.block_n * tile.unroll // (tile.warps * gpu.warp_size)
    if gpu.backend == "cuda":
        return read_nvidia(kernel.asm["cubin"], elements)
    return read_amd(kernel.asm["amdgcn"], elements)


def read_nvidia(cubin: bytes, elements: int) -> Figures:
    """Figures of a cubin whose main loop handles so many elements in each thread."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = _run("cuobjdump", "-res-usage", file.name)
        listing = _run("nvdisasm", "-c", file.name)
    stack = int(_first(r"STACK:(\d+)", usage))
    loop = main_loop(listing.splitlines(), r"(\.L_x_\d+):", r"\bBRA\S*.*`\((\.L_x_\d+)\)", "LDG")
    code = [m.groups() for line in loop if (m := INSTRUCTION.search(line))]
    names = [name for name, _ in code]
    return Figures(
        registers=int(_first(r"REG:(\d+)", usage)),
        spills=stack + len(re.findall(r"\b(?:STL|LDL)\b", listing)),
        per_element=len(names) / elements,
        special=sum(n.startswith("MUFU") for n in names) / elements,
        wide_share=_wide_share([n for n in names if n.startswith(("LDG", "STG"))]),
        waits=sum(n.startswith(("BAR", "SHFL", "WARPSYNC")) for n in names),
        branches=count_branches(names),
    )


def count_branches(names: Sequence[str]) -> int:
    """Branches in a loop, but for its end: a jump back, or an exit and then the jump back.

    For sm_80 the assembler writes some exits as CALL.REL.NOINC, which returns nowhere.
    """
    branches = sum(name.startswith(("BRA", "BSSY", "CALL", "BRX")) for name in names)
    exits = len(names) > 1 and names[-2] == "CALL.REL.NOINC"
    return branches - 1 - exits


def read_amd(assembly: str, elements: int) -> Figures:
    """Figures of GCN assembly; a wait for memory (s_waitcnt) is no barrier."""
    loop = main_loop(
        assembly.splitlines(), r"(\.LBB\d+_\d+):", r"s_c?branch\w*\s+(\.LBB\d+_\d+)", "_load_"
    )
    names = [m.group(1) for line in loop if (m := re.match(r"\s+([a-z]\w+)", line))]
    spilled = sum(int(n) for n in re.findall(r"\.[sv]gpr_spill_count:\s+(\d+)", assembly))
    spilled += int(_first(r"\.private_segment_fixed_size:\s+(\d+)", assembly))
    memory = [n for n in names if re.match(r"(global|buffer|flat)_(load|store)", n)]
    return Figures(
        registers=int(_first(r"\.vgpr_count:\s+(\d+)", assembly)),
        spills=spilled,
        per_element=len(names) / elements,
        special=sum(bool(re.match(r"v_(exp|rcp|rsq|log|sin|cos)_", n)) for n in names) / elements,
        wide_share=_wide_share(memory),
        waits=sum(n.startswith(("s_barrier", "ds_", "v_readlane")) for n in names),
        branches=sum("branch" in n for n in names) - 1,
    )


def main_loop(lines: Sequence[str], label: str, jump: str, load: str) -> list[str]:
    """The lines of the loop with most loads: a label, to the last branch back to it."""
    labels: dict[str, int] = {}
    best: list[str] = []
    for number, line in enumerate(lines):
        if found := re.match(label, line):
            labels[found.group(1)] = number
        if (found := re.search(jump, line)) and found.group(1) in labels:
            body = list(lines[labels[found.group(1)] : number + 1])
            best = max(best, body, key=lambda part: sum(load in text for text in part))
    return best


def _wide_share(accesses: list[str]) -> float:
    """Bytes in 128-bit accesses over all bytes, from their mnemonics."""
    sizes = [_bytes(name) for name in accesses]
    return sum(size for size in sizes if size == 16) / max(1, sum(sizes))


def _bytes(access: str) -> int:
    """LDG.E.128 is 16, global_load_dwordx4 too, LDG.E.U16 2, global_store_short 2."""
    widths = {"128": 16, "x4": 16, "x3": 12, "64": 8, "x2": 8, "16": 2, "short": 2, "8": 1}
    for mark, width in widths.items():
        if re.search(rf"{mark}(?:$|\.|_d16)|{mark}$", access):
            return width
    return 4


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"the tools' output has no {pattern!r}:\n{text[:2000]}")
    return found.group(1)


def _run(tool: str, *arguments: str) -> str:
    done = subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def answer() -> None:
    """Figures of each case on standard input, a line of JSON each."""
    for line in sys.stdin:
        print(json.dumps(asdict(figures(Case(**json.loads(line))))), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--functions", nargs="+", default=["tanh"], choices=list(FUNCTIONS))
    parser.add_argument("--json", action="store_true", help=answer.__doc__)
    options = parser.parse_args()
    if options.json:
        answer()
        return
    table = Table(title=f"machine code, N={options.columns}", box=None, title_justify="left")
    for column in ("function", "x", "pass", "target"):
        table.add_column(column)
    for column in ("instructions/element", "registers", "spills", "128-bit", "waits", "branches"):
        table.add_column(column, justify="right")
    for function, dtype, direction, target in product(
        options.functions, ("bf16", "fp32"), ("forward", "backward"), TARGETS
    ):
        case = Case(direction, target, dtype, columns=options.columns, function=function)
        own = figures(case)
        table.add_row(
            function, dtype, direction, target, f"{own.per_element:.2f}", str(own.registers),
            str(own.spills), f"{own.wide_share:.0%}", str(own.waits), str(own.branches),
        )  # fmt: skip
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
