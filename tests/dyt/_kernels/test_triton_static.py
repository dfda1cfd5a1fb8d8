"""The machine code that Triton makes for GPUs which are not here, and what it predicts."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from subprocess import PIPE
from types import SimpleNamespace

import pytest
from benchmarks.kernels import roofline

from dyt._kernels.triton import launcher

pytestmark = pytest.mark.slow

triton = pytest.importorskip("triton", reason="Triton comes with torch on Linux alone")

ROOT = Path(__file__).parents[3]
NVIDIA = ("sm_80", "sm_90", "sm_100")
# What older compilers make of the same kernels is right, and an instruction or a branch longer.
FIGURES = pytest.mark.skipif(
    [*map(int, triton.__version__.split(".")[:2])] < [3, 8],
    reason=f"the figures are those of Triton 3.8's code, this is {triton.__version__}",
)
BOTH = pytest.mark.parametrize("direction", ["forward", "backward"])


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """The figures of a case, as `python -m benchmarks.kernels.static --json` answers.

    A process of its own: code cannot be compiled where Triton was imported to interpret, a
    compiler that crashes takes its process along, and an empty cache holds no stale code.
    """
    folder = tmp_path_factory.mktemp("triton")
    environment = os.environ | {"TRITON_CACHE_DIR": str(folder), "TRITON_INTERPRET": "0"}
    command = [sys.executable, "-m", "benchmarks.kernels.static", "--json"]
    with (
        (folder / "stderr").open("w+") as errors,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdin=PIPE, stdout=PIPE, stderr=errors
        ) as process,
    ):

        @cache
        def ask(direction, target, **options):
            case = {"direction": direction, "target": target} | options
            try:
                print(json.dumps(case), file=process.stdin, flush=True)
                answer = process.stdout.readline()
            except BrokenPipeError:
                answer = ""
            assert answer, (folder / "stderr").read_text()
            return SimpleNamespace(**json.loads(answer))

        yield ask
        process.stdin.close()


def check_loop(own):
    assert own.special == 2  # an exponential and a reciprocal: the loop is the right one
    check_clean(own)


def check_clean(own):
    assert own.spills == 0
    assert own.waits == 0
    assert own.branches == 0
    assert own.wide_share >= 0.99


@FIGURES
@pytest.mark.parametrize("target", NVIDIA)
@pytest.mark.parametrize(
    ("direction", "per_element", "registers"), [("forward", 8.5, 40), ("backward", 15.0, 72)]
)
def test_bf16(figures, direction, target, per_element, registers):
    own = figures(direction, target)
    check_loop(own)
    if (direction, target) == ("backward", "sm_100"):
        per_element = 13.5  # it multiplies and adds two values at a time
    assert own.per_element <= per_element
    assert own.registers <= registers


@pytest.mark.parametrize("target", NVIDIA)
def test_an_approximate_tanh_takes_one_step_of_the_special_unit(figures, target):
    own = figures("forward", target, rough=True)
    assert own.special == 1
    check_clean(own)
    assert own.per_element < figures("forward", target).per_element


@pytest.mark.parametrize("target", NVIDIA)
@pytest.mark.parametrize(("direction", "per_element"), [("forward", 20.0), ("backward", 27.0)])
def test_fp32(figures, direction, target, per_element):
    own = figures(direction, target, dtype="fp32")
    check_loop(own)
    assert own.per_element <= per_element


@BOTH
def test_fp16(figures, direction):
    check_loop(figures(direction, "sm_90", dtype="fp16"))


@BOTH
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_amd(figures, direction, dtype):
    check_loop(figures(direction, "gfx942", dtype=dtype))


@FIGURES
@pytest.mark.parametrize("target", NVIDIA)
@pytest.mark.parametrize("side", [7, 14])
def test_channels_first(figures, target, side):
    """192 channels; the backward pass has most to keep in registers here."""
    columns, per_parameter = 192 * side * side, side * side
    own = figures("backward", target, columns=columns, per_parameter=per_parameter)
    check_loop(own)
    assert resident(own.registers) >= launcher.BACKWARD.resident


def test_channels_first_forward(figures):
    own = figures("forward", "sm_90", columns=192 * 196, per_parameter=196)
    check_loop(own)
    assert own.registers <= 40


def resident(registers):
    """Programs of 128 threads that fit 65,536 registers, of which a thread gets 8 at a time."""
    return 65_536 // (128 * -(-registers // 8) * 8)


@BOTH
@pytest.mark.parametrize("affine", ["weight", "none"])
def test_without_bias_and_without_weight(figures, direction, affine):
    check_loop(figures(direction, "sm_90", affine=affine))


@BOTH
@pytest.mark.parametrize("columns", [8, 24, 200, 1000, 65_536])
def test_wide_accesses_for_every_multiple_of_eight(figures, direction, columns):
    check_loop(figures(direction, "sm_90", columns=columns))


@BOTH
def test_wide_accesses_where_blocks_of_rows_have_gaps(figures, direction):
    own = figures(direction, "sm_90", columns=1000, outer=8)
    check_clean(own)


@BOTH
def test_rows_too_few_for_a_tile(figures, direction):
    check_loop(figures(direction, "sm_90", rows=1, columns=192 * 196, per_parameter=196))


@pytest.mark.parametrize("target", ["sm_90", "gfx942"])
@pytest.mark.parametrize("side", [1, 14])
def test_the_second_launch_does_not_spill(figures, target, side):
    own = figures("reduce", target, columns=192 * side * side, per_parameter=side * side)
    assert own.spills == 0


@BOTH
def test_more_rows_than_32_bits_count(figures, direction):
    assert figures(direction, "sm_90", rows=2**32, columns=1).spills == 0


@pytest.mark.parametrize(
    ("function", "target"),
    [(f, "sm_100") for f in launcher.functions()]
    + [(f, "sm_90") for f in ("erf", "isru", "arctan")],
)
def test_the_programs_of_every_function_are_resident_together(figures, function, target):
    own = figures("backward", target, function=function)
    check_clean(own)
    assert resident(own.registers) >= resident_of(function)


def resident_of(function):
    return launcher.functions()[function].resident or launcher.BACKWARD.resident


@BOTH
@pytest.mark.parametrize("issue", [0.6, 0.75, 0.85])
@pytest.mark.parametrize("name", ["H100", "B200"])
def test_memory_is_predicted_to_be_the_limit(figures, name, direction, issue):
    """Whatever share of the peak issue rate, within reason, the model assumes."""
    gpu = getattr(roofline, name)
    own = roofline.work(direction, gpu, 8192, 4096, figures(direction, gpu.target))
    assert roofline.share(own, gpu, 8192, 4096, roofline.Efficiency(issue=issue)) >= 0.95


def test_the_model_can_say_otherwise():
    """Of a kernel with three times our instructions it says that issuing them is the limit."""
    assert roofline.share(roofline.LIGER_FORWARD, roofline.B200, 8192, 4096) < 0.7
    assert roofline.share(roofline.LIGER_FORWARD, roofline.H100, 8192, 4096) >= 0.95


@pytest.mark.parametrize("issue", [0.6, 0.75, 0.85])
def test_the_model_reproduces_a_published_time(issue):
    at = roofline.Efficiency(issue=issue)
    predicted = roofline.seconds(roofline.LIGER_FORWARD, roofline.B200, 8192, 4096, at=at)
    assert abs(predicted / roofline.LIGER_PUBLISHED - 1) <= 0.25
    copy = roofline.Work(roofline.LIGER_FORWARD.bytes_per_element, instructions=0, special=0)
    by_memory_alone = roofline.seconds(copy, roofline.B200, 8192, 4096, at=at)
    assert by_memory_alone / roofline.LIGER_PUBLISHED < 0.5


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
    from benchmarks.kernels import static

    label, jump = r"(\.L_x_\d+):", r"\bBRA\S*.*`\((\.L_x_\d+)\)"
    loop = static.main_loop(LISTING.splitlines(), label, jump, "LDG")
    names = [m.group(1) for line in loop if (m := static.INSTRUCTION.search(line))]
    assert names == ["LDG.E.128", "LDG.E.64", "FMUL", "BRA"]
    assert static._wide_share(names[:2]) == 16 / 24
    assert static._wide_share(["global_load_dwordx4", "global_store_short"]) == 16 / 18
    assert static._wide_share([]) == 0


@pytest.mark.parametrize(
    ("names", "branches"),
    [
        (["LDG.E.128", "STG.E.128", "BRA"], 0),
        (["LDG.E.128", "STG.E.128", "CALL.REL.NOINC", "BRA"], 0),
        (["LDG.E.128", "CALL.REL.NOINC", "STG.E.128", "BRA"], 1),
        (["BSSY", "LDG.E.128", "BRA", "STG.E.128", "BRA"], 2),
    ],
)
def test_the_end_of_a_loop_is_no_branch(names, branches):
    from benchmarks.kernels import static

    assert static.count_branches(names) == branches


def test_missing_output_is_named():
    from benchmarks.kernels import static

    with pytest.raises(ValueError, match="REG"):
        static._first(r"REG:(\d+)", "nothing of the kind")
