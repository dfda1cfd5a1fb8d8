"""The report of records made by hand: numbers, words and files."""

import json
import math
import re
import time
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files

import pyarrow.parquet as pq
import pytest
from PIL import Image

from dyt_bench.discovery.domains import discover
from dyt_bench.errors import UserError
from dyt_bench.plugin.task import AA, Run, Task, Variant
from dyt_bench.records.record import Record, Result
from dyt_bench.records.workspace import Reported, SuiteRuns
from dyt_bench.report import charts, write_report
from dyt_bench.report.export import RUN_FIELDS, VERDICT_FIELDS
from dyt_bench.report.reproduce import suite_text
from dyt_bench.report.tables import variant_rows
from dyt_bench.suite.expand import load_suite
from dyt_bench.verdicts.runs import Evidence, evidence_of, group_names, load_runs
from dyt_bench.verdicts.standings import leaderboard, overall, performance_profile, steps_to
from dyt_bench.verdicts.words import markdown_table

ENVIRONMENT = {
    "cpu": "abacus <b>",
    "cores": "2",
    "memory_gib": "8",
    "python": "3.11",
    "torch": "2",
    "commit": "abc",
}


@pytest.fixture(scope="module")
def found():
    return discover()


def make_record(
    folder, run, metric, values, *, status="finished", summary=None, notices=(), **facts
):
    """The record of a run with these values of its metric, first validation to last."""
    record = Record(folder / "runs" / run.identity)
    record.begin(run, ENVIRONMENT)
    every = run.task.val_every
    rows = [{"step": every * i, metric.name: value} for i, value in enumerate(values)]
    lines = (json.dumps({**row, "time": 0.0, "train/loss": 1.0}) for row in rows)
    record.rows_path.write_text("".join(f"{line}\n" for line in lines))
    pick = max if metric.mode == "max" else min
    is_native = run.variant.is_native
    record.finish(
        Result(
            status=status,
            reason="" if status == "finished" else "the loss became nan at step 3",
            started=0.0,
            ended=60.0,
            first=rows[0],
            best=pick(rows, key=lambda row: row[metric.name]),
            last=rows[-1],
            summary={"model/parameters": 1000, "memory/peak_mib": 100.0, **(summary or {})},
            facts={"weights": "w", "batches": "b", **facts},
            alpha={} if is_native else {"norm": 0.4},
            saturation={} if is_native else {"norm": 0.1},
            notices=list(notices),
        )
    )
    return record


@pytest.fixture
def record(tmp_path, found):
    """Make the record of a run of vision/vit with the given accuracies, first to last."""

    def made(variant, seed, accuracies, *, changes=None, options=None, **more):
        task = Task(
            domain="vision",
            model="vit",
            dataset="digits",
            seed=seed,
            steps=10 * (len(accuracies) - 1),
            batch_size=4,
            learning_rate=1e-3,
            val_every=10,
            code_digest=found.code_digest("vision"),
        )
        run = Run(
            task=replace(task, **(changes or {})), variant=Variant(name=variant, **(options or {}))
        )
        return make_record(tmp_path, run, found.domain("vision").metric, accuracies, **more)

    return made


def standings_of(records, found, timings=None):
    return leaderboard(Evidence("t", load_runs(records), timings or {}), found.metric)


def test_leaderboard_pairs_by_seed(record, found):
    records = [record("native", seed, [0.1, 0.90 + seed / 100]) for seed in range(3)]
    records += [record("dyt", seed, [0.1, 0.93 + seed / 100]) for seed in range(3)]
    (standing,) = standings_of(records, found)
    assert standing.seeds == (0, 1, 2)
    assert standing.comparison.gain == pytest.approx(0.03)
    assert standing.comparison.verdict == "better"
    assert standing.speed is None


def test_best_and_last_are_both_judged(record, found):
    records = [record("native", seed, [0.1, 0.95 + seed / 1000, 0.90]) for seed in range(3)]
    records += [record("dyt", seed, [0.1, 0.80, 0.92 + seed / 1000]) for seed in range(3)]
    (standing,) = standings_of(records, found)
    assert (standing.baseline_last, standing.variant_last) == pytest.approx((0.90, 0.921))
    assert (standing.baseline_best, standing.variant_best) == pytest.approx((0.951, 0.921))
    assert (standing.comparison.verdict, standing.best.verdict) == ("better", "worse")


def test_step_time_is_judged_over_the_builds_of_all_seeds(record, found):
    records = [
        record(variant, seed, [0.1, 0.9]) for seed in range(3) for variant in ("native", "dyt")
    ]
    seconds = {"native": [1.0, 1.1] * 5, "dyt": [1.2, 1.3] * 5, AA: [1.0, 1.1] * 5}
    timings = {str(r.about()["task_identity"]): seconds for r in records}
    (standing,) = standings_of(records, found, timings)
    assert (standing.speed.builds, standing.speed.word) == (3, "slower")
    assert standing.time_to_quality == pytest.approx(standing.speed.ratio.middle)


def test_compiled_steps_have_a_column_of_their_own(record, found, tmp_path):
    records = [record(variant, 0, [0.1, 0.9]) for variant in ("native", "dyt")]
    task = str(records[0].about()["task_identity"])
    eager = {"native": [1.0] * 5, "dyt": [1.2] * 5, AA: [1.0] * 5}
    compiled = {task: {**eager, "dyt": [0.9] * 5}}
    write_report(SuiteRuns("t", []), records, found, tmp_path, {task: eager}, compiled=compiled)
    page = (tmp_path / "README.md").read_text()
    assert "| compiled step |" in page
    assert "| 1.20 no difference |" in page
    assert "| 0.90 no difference |" in page
    (verdict,) = json.loads((tmp_path / "results.json").read_text())["verdicts"]
    assert verdict["compiled_speed"]["ratio"]["middle"] == pytest.approx(0.9)


def test_steps_to_the_baseline_quality_are_interpolated(record, found):
    metric = found.domain("vision").metric
    (run,) = load_runs([record("dyt", 0, [0.1, 0.5, 0.9])])
    assert steps_to(run, metric, 0.7) == pytest.approx(15)
    assert steps_to(run, metric, 0.05) == 0
    assert steps_to(run, metric, 0.95) == math.inf


def test_a_baseline_that_learned_nothing_has_no_time_to_quality(record, found, tmp_path):
    records = [record("native", 0, [0.9, 0.5]), record("dyt", 0, [0.1, 0.6])]
    seconds = {"native": [1.0, 1.1] * 5, "dyt": [1.2, 1.3] * 5, AA: [1.0, 1.1] * 5}
    timings = {str(r.about()["task_identity"]): seconds for r in records}
    (standing,) = standings_of(records, found, timings)
    assert standing.time_to_quality is None
    write_report(SuiteRuns("t", []), records, found, tmp_path / "out", timings)
    assert "native learned nothing" in (tmp_path / "out" / "README.md").read_text()


def test_with_a_diverged_seed_no_verdict_is_good(record, found):
    records = [record("native", seed, [0.1, 0.8]) for seed in range(4)]
    records += [record("dyt", seed, [0.1, 0.9 + seed / 1000]) for seed in range(3)]
    assert standings_of(records, found)[0].comparison.verdict == "better"
    records.append(record("dyt", 3, [0.1, 0.2], status="diverged"))
    (standing,) = standings_of(records, found)
    collapses = standing.collapses
    assert standing.comparison.verdict == "undetermined"
    assert (collapses.variant, collapses.of) == (1, 4)
    assert (collapses.baseline, collapses.baseline_of) == (0, 4)
    assert collapses.p == 1.0


def scored(blind, reference=None):
    names = {"blind/val/acc": blind, "reference/val/acc": reference}
    return {"summary": {name: value for name, value in names.items() if value is not None}}


def test_the_margin_is_a_share_of_what_native_learned(record, found):
    records = [record("native", seed, [0.1, 0.9], **scored(0.1)) for seed in range(3)]
    records += [record("dyt", seed, [0.1, 0.88 + seed / 1000], **scored(0.1)) for seed in range(3)]
    (standing,) = standings_of(records, found)
    assert standing.comparison.margin == pytest.approx(0.05 * 0.8)
    assert standing.share == pytest.approx(-0.019 / 0.8)
    assert (standing.comparison.verdict, standing.comparison.within) == ("worse", True)


def test_a_native_model_that_does_not_beat_the_reference_can_judge_nothing(record, found):
    records = [record("native", seed, [0.1, 0.4], **scored(0.1, 0.5)) for seed in range(3)]
    records += [record("dyt", seed, [0.1, 0.3], **scored(0.1, 0.5)) for seed in range(3)]
    (standing,) = standings_of(records, found)
    assert standing.comparison.verdict == "too little learned"
    records = [record("native", seed, [0.1, 0.6], **scored(0.1, 0.5)) for seed in range(3)]
    records += [record("dyt", seed, [0.1, 0.3], **scored(0.1, 0.5)) for seed in range(3)]
    assert standings_of(records, found)[0].comparison.verdict == "worse"


def learning(record, after):
    """Native and dyt after 10 steps, and native alone after 20."""
    records = [record("native", seed, [0.1, 0.6], **scored(0.1)) for seed in range(3)]
    records += [record("dyt", seed, [0.1, 0.3 + seed / 1e3], **scored(0.1)) for seed in range(3)]
    longer = {"changes": {"steps": 20, "val_every": 20}}
    return records + [record("native", s, [0.1, after], **longer, **scored(0.1)) for s in range(3)]


@pytest.mark.parametrize(("after", "word"), [(0.7, "still learning"), (0.62, "worse")])
def test_no_verdict_where_more_steps_improve_native_by_the_margin(
    record, found, tmp_path, after, word
):
    records = learning(record, after)
    evidence = evidence_of(SuiteRuns("t", []), load_runs(records))
    assert {run.group.steps for run in evidence.runs} == {10}
    (standing,) = leaderboard(evidence, found.metric)
    assert (standing.name, standing.comparison.verdict, standing.best.verdict) == (
        "vision/vit",
        word,
        word,
    )
    assert standing.comparison.interval is not None
    write_report(SuiteRuns("t", []), records, found, tmp_path / "out")
    said = f"{(after - 0.6) / 0.5:+.1%} by 20: {'plateau' if word == 'worse' else word}"
    assert said in (tmp_path / "out" / "README.md").read_text()
    assert said in (tmp_path / "out" / "report.html").read_text()


def test_a_suite_may_know_that_native_still_learns(record, found):
    records = learning(record, 0.6)[:6]
    known = SuiteRuns("t", [], learning=["vision/vit/digits, 10 steps"])
    (standing,) = leaderboard(evidence_of(known, load_runs(records)), found.metric)
    assert standing.comparison.verdict == "still learning"
    other = SuiteRuns("t", [], learning=["vision/vit/digits, 5 steps"])
    (standing,) = leaderboard(evidence_of(other, load_runs(records)), found.metric)
    assert standing.comparison.verdict == "worse"


def test_a_run_that_learned_no_more_than_the_blind_is_in_no_mean(record, found):
    records = [record("native", seed, [0.1, 0.9], **scored(0.1)) for seed in range(4)]
    records += [record("dyt", seed, [0.1, 0.91], **scored(0.1)) for seed in range(3)]
    records.append(record("dyt", 3, [0.1, 0.1], **scored(0.1)))
    (standing,) = standings_of(records, found)
    assert standing.variant_last == pytest.approx(0.91)
    assert (standing.collapses.variant, standing.collapses.of) == (1, 4)
    assert standing.comparison.verdict == "undetermined"


def test_where_every_run_collapsed_the_row_says_so(record, found):
    records = [record("native", seed, [0.1, 0.9], **scored(0.1)) for seed in range(4)]
    records += [record("dyt", seed, [0.1, 0.1], **scored(0.1)) for seed in range(4)]
    (standing,) = standings_of(records, found)
    assert (standing.collapses.variant, standing.collapses.of) == (4, 4)
    assert standing.collapses.p == pytest.approx(2 / 70)
    assert standing.comparison.verdict == "worse"


def test_diverged_runs_are_shown_but_not_judged(record, found, tmp_path):
    records = [record("native", 0, [0.1, 0.9]), record("dyt", 0, [0.1, 0.2], status="diverged")]
    assert standings_of(records, found) == []
    write_report(SuiteRuns("t", []), records, found, tmp_path / "out")
    for page in ("README.md", "report.html"):
        text = (tmp_path / "out" / page).read_text()
        assert "diverged: the loss became nan at step 3" in text


def test_another_workload_version_is_not_compared(record, found, tmp_path):
    old = [record(n, 0, [0.1, 0.9], changes={"code_digest": "older"}) for n in ("native", "dyt")]
    new = [record(variant, 1, [0.1, 0.9]) for variant in ("native", "dyt")]
    (standing,) = standings_of([*old, *new], found)
    assert standing.seeds == (1,)
    write_report(SuiteRuns("t", []), [*old, *new], found, tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    assert "not comparable: made by another workload version (older, not " in page
    assert "than the one installed (vision)" in page
    write_report(SuiteRuns("t", []), new, found, tmp_path / "new")
    assert "not comparable" not in (tmp_path / "new" / "README.md").read_text()


def test_runs_that_saw_other_batches_are_not_paired(record, found):
    records = [record("native", 0, [0.1, 0.9]), record("dyt", 0, [0.1, 0.9], batches="others")]
    assert standings_of(records, found) == []


def test_runs_of_two_device_classes_are_not_paired(record, found):
    records = [record("native", 0, [0.1, 0.9], device="cpu")]
    records.append(record("dyt", 0, [0.1, 0.9], device="NVIDIA H200"))
    assert standings_of(records, found) == []
    pair = [record(variant, 1, [0.1, 0.9], device="cpu") for variant in ("native", "dyt")]
    assert standings_of(pair, found)[0].seeds == (1,)


def test_times_of_two_processors_are_not_averaged(record, found, tmp_path):
    intel = record("native", 0, [0.1, 0.9], summary={"time/step_ms_median": 100.0})
    about = json.loads((intel.folder / "run.json").read_text())
    about["environment"]["cpu"] = "another processor"
    (intel.folder / "run.json").write_text(json.dumps(about))
    newest = record("native", 1, [0.1, 0.9], summary={"time/step_ms_median": 300.0})
    runs = load_runs([intel, newest])
    assert [run.elsewhere for run in runs] == [True, False]
    (row,) = variant_rows(runs, group_names(run.group for run in runs), found)
    assert row["step, ms"] == "300"
    assert row["runs"] == "2"  # quality does not depend on the processor


def test_throughput_is_counted_in_the_domains_unit(record, found):
    timed = record("native", 0, [0.1, 0.9], summary={"time/units_per_s": 1234.5})
    for runs, said in (([timed], "1,234 images/s"), ([record("dyt", 0, [0.1, 0.9])], "")):
        runs = load_runs(runs)
        (row,) = variant_rows(runs, group_names(run.group for run in runs), found)
        assert row["throughput"] == said


def test_runs_of_two_training_presets_are_not_paired(record, found):
    records = [record("native", 0, [0.1, 0.9])]
    records.append(record("dyt", 0, [0.1, 0.9], changes={"preset_digest": "heavier decay"}))
    assert standings_of(records, found) == []


def test_budgets_are_groups_of_their_own(record, found):
    records = [
        record(variant, 0, [0.1, 0.9], changes={"learning_rate": rate})
        for rate in (0.001, 0.01)
        for variant in ("native", "dyt")
    ]
    names = [standing.name for standing in standings_of(records, found)]
    assert names == ["vision/vit, lr 0.001", "vision/vit, lr 0.01"]


def test_over_all_models(record, found):
    records, timings = [], {}
    for model, factor, last in (("vit", 2.0, 0.95), ("convnext", 0.5, 0.80)):
        for variant, value in (("native", 0.9), ("dyt", last)):
            records.append(record(variant, 0, [0.1, value], changes={"model": model}))
        steady = [1.0, 1.1] * 5
        seconds = {"native": steady, "dyt": [factor * s for s in steady], AA: steady}
        timings[str(records[-1].about()["task_identity"])] = seconds
    standings = standings_of(records, found, timings)
    (together,) = overall(standings)
    assert together.step_time.middle == pytest.approx(1)
    assert (together.groups, together.reached) == (2, 1)
    profile = performance_profile(standings)
    steps = 10 * 0.8 / 0.85  # vit reaches 0.9 before its last validation, in twice the time
    assert profile == {
        "native": [1.0, 1.0],
        "dyt": [pytest.approx(2 * steps / 10), math.inf],
    }


def test_what_is_as_good_before_its_first_step_has_no_profile(record, found):
    records = [record("native", 0, [0.1, 0.3]), record("dyt", 0, [0.4, 0.2])]
    seconds = dict.fromkeys(("native", "dyt", AA), [1.0, 1.1] * 5)
    timings = {str(records[0].about()["task_identity"]): seconds}
    (standing,) = standings = standings_of(records, found, timings)
    assert standing.time_to_quality == 0
    assert performance_profile(standings) == {"native": [], "dyt": []}


@pytest.fixture
def reported(record, found, tmp_path):
    """A report with everything in it, hostile text included."""
    records = []
    for seed in range(3):
        for variant, last in (("native", 0.9), ("dyt", 0.8)):
            summary = {"reference/val/acc": 0.1, "eval/ece": 0.03}
            notices = ["2 of 9 files cannot be read and are left out:\n  <b>.png"]
            places = ("/a/b/src", "/venv/site-packages")
            notices += [f"read as N: 6, in {place}/dyt_dna/a.fa" for place in places]
            records.append(record(variant, seed, [0.1, last], summary=summary, notices=notices))
    pictures = records[1].folder / "artifacts"
    pictures.mkdir()
    Image.new("L", (8, 8)).save(pictures / "samples.png")
    (pictures / "too-large.png").write_bytes(bytes(600 * 1024))
    seconds = {"native": [1.0, 1.1] * 5, "dyt": [1.2, 1.3] * 5, AA: [1.0, 1.1] * 5}
    timings = {str(r.about()["task_identity"]): seconds for r in records}
    out = tmp_path / "out"
    paper = Reported({"native": 82.3, "dyt": 82.5}, metric="eval/top1", source="paper <i>")
    listed = SuiteRuns("A <script>title</script>", [], expected={"vision/vit/digits": paper})
    write_report(listed, records, found, out, timings)
    return out


class Page(HTMLParser):
    """The page as a browser parses it: its tags, which must match, links and ids."""

    VOID = frozenset({"meta", "img", "link", "br", "hr", "wbr"})

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.ids, self.tags = [], [], [], []
        self.charts = []  # caption, and the data it is drawn from
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.links += [
            attributes[key] for key in ("href", "src", "xlink:href") if key in attributes
        ]
        self.ids += [attributes["id"]] if "id" in attributes else []
        if "data-chart" in attributes:
            self.charts.append(["", json.loads(attributes["data-chart"])])

    def handle_data(self, data):
        if self.open and self.open[-1] == "figcaption" and self.charts and not self.charts[-1][0]:
            self.charts[-1][0] = data

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_one_file_well_formed_and_escaped(reported):
    text = (reported / "report.html").read_text()
    page = Page(text)
    assert "A &lt;script&gt;title" in text
    # The only script is the page's own, which its policy names; no other would run.
    (script,) = re.findall(r"<script[^>]*>(.*?)</script>", text, re.S)
    assert script == f"\n{files('dyt_bench.report').joinpath('report.js').read_text()}"
    allowed = b64encode(sha256(script.encode()).digest()).decode()
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src "
    assert f"{policy}'sha256-{allowed}'" in text
    text = text.replace(script, "")
    assert "abacus &lt;b&gt;" in text
    outside = [link for link in page.links if not link.startswith(("#", "data:image/png;base64,"))]
    assert outside == []
    assert "@import" not in text
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    styles = re.sub(r"url\(#[\w-]+\)", "", text)
    assert "url(" not in styles
    assert page.tags.count("img") == 1  # the picture; the large one is only named
    assert "too large to show" in text
    assert [caption for caption, _ in page.charts] == [
        "vision: gain",
        "all models: step time",
        "vision/vit: top-1 accuracy",
        "vision/vit: training loss",
        "vision/vit: training step (ms)",
        "vision/vit: peak memory (MiB)",
        "vision/vit: alpha at the end",
        "vision/vit: saturation at the end",
    ]
    assert page.tags.count("svg") == 0  # the script draws them
    for colour in ("#010203", "#040506", "#0d0e00"):
        assert colour not in text  # the style sheet's variables replace them


@pytest.mark.parametrize("step_ms", [3.0, None])
def test_only_costs_that_were_measured_are_drawn(record, step_ms):
    summary = {} if step_ms is None else {"time/step_ms_median": step_ms}
    runs = load_runs([record("native", 0, [0.1, 0.9], summary=summary)])
    costs = charts.costs(runs, {})
    assert list(costs) == ["training step (ms)"] * bool(step_ms) + ["peak memory (MiB)"]
    assert [[row["value"] for row in rows] for rows in costs.values()] == [
        *([[3.0]] * bool(step_ms)),
        [100.0],
    ]


def test_what_a_suite_adds_is_shown(reported):
    for name in ("README.md", "report.html"):
        text = (reported / name).read_text()
        assert "eval/top1 82.3 → 82.5 (paper &lt;i>" in text.replace("&gt;", ">")
        assert "0.03" in text
        assert "ece" in text


def test_what_was_not_taken_of_the_data_is_told_once_a_group(reported):
    said = "vision/vit: 2 of 9 files cannot be read and are left out: &lt;b"
    for name in ("README.md", "report.html"):
        assert (reported / name).read_text().count(said) == 1, name
    (run, *_) = pq.read_table(reported / "runs.parquet").to_pylist()
    first, name, *others = run["notices"].splitlines()
    assert [first, name] == ["2 of 9 files cannot be read and are left out:", "  <b>.png"]
    assert others == ["read as N: 6, in dyt_dna/a.fa"] * 2  # wherever the package lay


def test_the_readme_has_the_verdicts_first(reported):
    page = (reported / "README.md").read_text()
    assert page.index("## Verdicts") < page.index("## Curves") < page.index("## Variants")
    assert "| vision/vit | top-1 accuracy ↑ | 0.9000 | dyt | 0.8000 |" in page
    assert "**vision/vit**: " in page
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (reported / link).exists(), link


def test_the_data_say_what_they_mean(reported):
    content = json.loads((reported / "results.json").read_text())
    assert content["schema"]["version"] == 4
    (verdict,) = content["verdicts"]
    assert verdict["at_budget"]["verdict"] == "worse"
    assert verdict["speed"]["word"] == "slower"
    described = {name.partition("/")[2] or name for name in VERDICT_FIELDS}
    assert set(verdict) <= set(VERDICT_FIELDS)
    assert set(verdict["at_best"]) <= described
    runs = pq.read_table(reported / "runs.parquet")
    assert runs.schema.metadata[b"dyt_bench.schema"] == b"4"
    stars = [name.rstrip("*") for name in RUN_FIELDS if name.endswith("*")]
    for name in runs.column_names:
        assert name in RUN_FIELDS or name.startswith(tuple(stars)), name
    assert runs.column("last/val/acc").to_pylist() == [0.9, 0.8] * 3
    rows = pq.read_table(reported / "rows.parquet").to_pylist()
    dyt_run = runs.column("identity").to_pylist()[1]
    points = [r for r in rows if r["identity"] == dyt_run and r["metric"] == "val/acc"]
    assert [(r["step"], r["value"]) for r in points] == [(0, 0.1), (10, 0.8)]
    curve = content["runs"][1]["curves"]["val/acc"]
    assert (curve["steps"], curve["values"]) == ([0, 10], [0.1, 0.8])
    assert all(name.startswith("val/") for run in content["runs"] for name in run["curves"])


@pytest.mark.parametrize("more", ["", ", skip_bad_files: true"])
def test_the_suite_of_a_group_makes_the_same_runs_again(record, found, tmp_path, more):
    """Identity by identity, options of variants included."""
    text = (
        "name: s\n"
        "variants: [native, {name: dyt, alpha_init_value: 0.8}, {name: dyt, recipe: paper}]\n"
        f"seeds: [0, 3]\ntasks:\n- {{domain: vision, steps: 20, learning_rate: 0.003{more}}}\n"
    )
    (tmp_path / "first.yaml").write_text(text)
    runs = load_suite(tmp_path / "first.yaml", found).runs
    metric = found.domain("vision").metric
    runs = load_runs([make_record(tmp_path, run, metric, [0.1, 0.9]) for run in runs])
    names = group_names(run.group for run in runs)
    ((group, _),) = names.items()
    (tmp_path / "again.yaml").write_text(suite_text("again", group, runs))
    again = load_suite(tmp_path / "again.yaml", found).runs
    assert {run.identity for run in again} == {run.identity for run in runs}


def test_what_a_domain_measures_at_the_end_has_a_table_a_model(record, found, tmp_path):
    records = [
        record("native", 0, [0.1, 0.5], summary={"eval/label_accuracy": 0.25}),
        record("dyt", 0, [0.1, 0.4], summary={"eval/label_accuracy": 0.125, "eval/more": 1.0}),
    ]
    write_report(SuiteRuns("t", []), records, found, tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    variants, table = page.split("### vision/vit, measured once at the end")
    assert "label_accuracy" not in variants
    assert table.strip().startswith(
        "| at the end | native | dyt |\n|----------------|----------|-------|\n"
        "| label_accuracy | 0.25 | 0.125 |\n| more |  | 1 |"
    )
    assert "measured once at the end" in (tmp_path / "out" / "report.html").read_text()


def test_times_are_whole_and_the_machine_is_named(record, found, tmp_path):
    made = record("native", 0, [0.1, 0.9], device="cpu")
    result = json.loads(made.result_path.read_text())
    result |= {"started": 1796041261.5678, "ended": 1796041261.9876}
    made.result_path.write_text(json.dumps(result))
    write_report(SuiteRuns("t", []), [made], found, tmp_path / "out")
    (run,) = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert (run["started"], run["ended"]) == (1796041261.5678, 1796041261.9876)
    assert [run[key] for key in ("cpu", "python", "torch", "device")] == [
        "abacus <b>",
        "3.11",
        "2",
        "cpu",
    ]


def test_the_page_opens_with_the_answer(record, found, tmp_path):
    records = [record("native", seed, [0.1, 0.9], **scored(0.1)) for seed in range(3)]
    records += [record("dyt", seed, [0.1, 0.7 + seed / 1e3], **scored(0.1)) for seed in range(3)]
    write_report(SuiteRuns("t", []), records, found, tmp_path / "out")
    said = "dyt in place of the native norm is worse in 1 of 1 model (vision/vit)"
    for name in ("README.md", "report.html"):
        text = (tmp_path / "out" / name).read_text()
        assert text.index(said) < text.index("-24.9%") < text.index("Verdicts")
    page = (tmp_path / "out" / "README.md").read_text()
    assert "| vision/vit: top-1 accuracy ↑ | 0.9000 | worse -24.9% |" in page
    assert page.count("<details>") == page.count("</details>") > 0


def test_nothing_to_report_is_said(tmp_path, found):
    with pytest.raises(UserError, match="nothing to report"):
        write_report(SuiteRuns("t", []), [], found, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_markdown_cells_are_escaped():
    table = markdown_table([{"a": "x|y\nz<b>", "n": "0.50"}])
    assert table == "| a | n |\n|--------------|------|\n| x\\|y z&lt;b> | 0.50 |"


@pytest.mark.slow
def test_a_report_takes_time_by_the_run(tmp_path, found):
    """Four groups of 500 runs each, and a fifth of them: no part grows faster than the runs.

    A ratio, as seconds depend on the machine; `python -m benchmarks.harness report` measures them.
    """
    records, timings = [], {}
    seconds = [1.0, 1.1, 1.05] * 4
    names = ["native", "dyt", "derf", "dyt", "dyt"]
    options = [{}, {}, {}, {"alpha_init_value": 0.8}, {"recipe": "calibrated"}]
    for domain in ("vision", "llm", "dna", "speech"):
        metric = found.domain(domain).metric
        model = next(iter(found.domain(domain).models))
        sign = -1 if metric.mode == "max" else 1
        for seed in range(100):
            task = Task(
                domain=domain,
                model=model,
                dataset=next(iter(found.domain(domain).datasets)),
                seed=seed,
                steps=100,
                batch_size=4,
                learning_rate=1e-3,
                val_every=1,
            )
            variants = [Variant(name=n, **o) for n, o in zip(names, options, strict=True)]
            timings[task.identity] = {
                **{variant.label: seconds for variant in variants},
                AA: seconds,
            }
            for i, variant in enumerate(variants):
                values = [sign / (1 + step) + seed / 1e3 + i / 100 for step in range(101)]
                run = Run(task=task, variant=variant)
                records.append(make_record(tmp_path, run, metric, values))
    assert len(records) == 2000
    write_report(SuiteRuns("warm-up: imports", []), records[:5], found, tmp_path / "few")
    some = [record for i, record in enumerate(records) if i // 5 % 100 < 20]
    start = time.process_time()
    write_report(SuiteRuns("some", []), some, found, tmp_path / "some", timings)
    between = time.process_time()
    standings = write_report(SuiteRuns("many", []), records, found, tmp_path / "many", timings)
    assert time.process_time() - between < 5 * 1.6 * (between - start)
    assert len(standings) == 16
