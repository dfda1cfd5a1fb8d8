"""The machine code that Triton makes for GPUs which are not here, and what it predicts."""

import importlib.util
import sys
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton comes with torch on Linux alone")

FOLDER = Path(__file__).parents[2] / "benchmarks/kernels"
NVIDIA = ("sm_80", "sm_90", "sm_100")


@cache
def load(stem):
    """A module of benchmarks/kernels, which are scripts and no package."""
    spec = importlib.util.spec_from_file_location(stem, FOLDER / f"{stem}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[stem] = module  # where roofline finds static
    spec.loader.exec_module(module)
    return module


def figures(direction, target, **options):
    return load("static").figures(direction, target, **options)


def check_loop(own):
    assert own.spills == 0
    assert own.waits == 0
    assert own.branches == 0
    assert own.wide_share >= 0.99


@pytest.mark.parametrize("target", NVIDIA)
@pytest.mark.parametrize(
    ("direction", "per_element", "registers"), [("forward", 8.5, 40), ("backward", 15.0, 72)]
)
def test_bf16(direction, target, per_element, registers):
    own = figures(direction, target)
    check_loop(own)
    if (direction, target) == ("backward", "sm_100"):
        per_element = 13.5  # it multiplies and adds two values at a time
    assert own.per_element <= per_element
    assert own.registers <= registers


@pytest.mark.parametrize("target", NVIDIA)
@pytest.mark.parametrize(("direction", "per_element"), [("forward", 20.0), ("backward", 27.0)])
def test_fp32(direction, target, per_element):
    own = figures(direction, target, dtype="fp32")
    check_loop(own)
    assert own.per_element <= per_element


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_amd(direction):
    check_loop(figures(direction, "gfx942"))


@pytest.mark.parametrize("columns", [8, 24, 72, 200, 1000, 1032])
def test_wide_accesses_for_every_multiple_of_eight(columns):
    check_loop(figures("forward", "sm_90", columns=columns))


@pytest.mark.parametrize("function", ["erf", "arctan", "satursin"])
def test_the_longest_functions_do_not_spill(function):
    check_loop(figures("backward", "sm_90", function=function))


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("name", ["H100", "B200"])
def test_memory_is_predicted_to_be_the_limit(name, direction):
    roofline = load("roofline")
    load("static")
    gpu = getattr(roofline, name)
    own = roofline.work(direction, gpu, 8192, 4096)
    assert roofline.share(own, gpu, 8192, 4096) >= 0.95


@pytest.mark.parametrize("issue", [0.6, 0.75, 0.85])
def test_the_model_reproduces_a_published_time(issue):
    """Whatever share of the peak issue rate, within reason, the model assumes."""
    roofline = load("roofline")
    at = roofline.Efficiency(issue=issue)
    predicted = roofline.seconds(roofline.LIGER_FORWARD, roofline.B200, 8192, 4096, at=at)
    assert abs(predicted / roofline.LIGER_PUBLISHED - 1) <= 0.25


LISTING = """
.L_x_0:
        /*0010*/                   LDG.E R1, desc[UR4][R2.64] ;
        /*0020*/              @!P0 BRA `(.L_x_0) ;
.L_x_1:
        /*0030*/                   LDG.E.128 R4, desc[UR4][R2.64] ;
        /*0040*/                   LDG.E.64 R4, desc[UR4][R2.64] ;
        /*0050*/               @P0 FMUL R4, R4, 0.25 ;
        /*0060*/               @P1 BRA `(.L_x_1) ;
        /*0070*/                   EXIT ;
"""


def test_the_reader_finds_the_main_loop_and_its_widths():
    static = load("static")
    label, jump = r"(\.L_x_\d+):", r"\bBRA\S*.*`\((\.L_x_\d+)\)"
    loop = static.main_loop(LISTING.splitlines(), label, jump, "LDG")
    names = [m.group(1) for line in loop if (m := static.INSTRUCTION.search(line))]
    assert names == ["LDG.E.128", "LDG.E.64", "FMUL", "BRA"]
    assert static._wide_share(names[:2]) == 16 / 24
    assert static._wide_share(["global_load_dwordx4", "global_store_short"]) == 16 / 18
    assert static._wide_share([]) == 0


def test_missing_output_is_named():
    with pytest.raises(ValueError, match="REG"):
        load("static")._first(r"REG:(\d+)", "nothing of the kind")
