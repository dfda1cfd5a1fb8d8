"""Titles, paths, classes and reasons are text on every page, whatever they hold."""

import json
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from dyt_bench.discovery.domains import discover
from dyt_bench.errors import UserError, printable
from dyt_bench.plugin.task import AA, Run, Task, Variant
from dyt_bench.records.workspace import SuiteRuns
from dyt_bench.report import write_report
from dyt_bench.report.write import try_out
from dyt_bench.tracking import links, mirror
from dyt_bench.tracking.parts import Group, Part
from dyt_bench.verdicts.runs import load_runs
from dyt_bench.verdicts.words import escaped, markdown_table

from ..instant import InstantExecutor
from .test_report import Page, make_record

HOSTILE = {
    "a formula": r"$\frac$",
    "half a formula": "$x_{",
    "a script": "<script>alert(1)</script>",
    "an end of a tag": '"><img src=x onerror=alert(1)>',
    "a link": "[here](javascript:alert(1))",
    "a picture": "![x](https://example.org/p.png)",
    "a table's cell": "a | b || c",
    "code": "`rm -rf`",
    "emphasis": "**bold** and __bold__ and ~~gone~~",
    "an escape of a terminal": "\x1b[31mred\x1b]0;title\x07",
    "no UTF-8": "caf\udce9",
    "a line's end": "one\n# two\r\n| three",
    "from right to left": "\u202egnp.exe",
    "an entity": "&lt;b&gt; &#60;script&#62;",
    "a template": "{{ 7 * 7 }} {% raw %} ${HOME} %s",
    "a markup of rich": "[bold red]x[/bold red] [/]",
    "very long": "x" * 5000,
    "what no font has": "\U0001f9ff\u0915\u0e01",
    "a backslash": "\\|\\[a](b)",
}


@pytest.fixture(scope="module")
def found():
    return discover()


@pytest.fixture
def records(tmp_path, found):
    """Records of two groups that differ by a path of that name."""

    def of(text):
        made = []
        for variant in ("native", "dyt"):
            for path in (None, Path("/data") / text):
                task = Task(
                    domain="vision",
                    model="vit",
                    dataset="folder",
                    path=path,
                    steps=10,
                    batch_size=4,
                    learning_rate=1e-3,
                    val_every=10,
                    data_digest=str(path),
                )
                run = Run(task=task, variant=Variant(name=variant))
                metric = found.domain("vision").metric
                made.append(
                    make_record(tmp_path, run, metric, [0.1, 0.9], notices=[text], device=text)
                )
        failed = made[-1]
        result = json.loads(failed.result_path.read_text())
        result |= {"status": "failed", "reason": text}
        failed.result_path.write_text(json.dumps(result))
        return made

    return of


def html_of(markdown):
    """As GitHub renders it, HTML included."""
    return MarkdownIt("gfm-like", {"linkify": False}).render(markdown)


@pytest.mark.parametrize("what", HOSTILE)
def test_a_report_shows_hostile_text_as_text(records, found, tmp_path, undrawn, what):
    text, out = HOSTILE[what], tmp_path / "out"
    write_report(SuiteRuns(text, []), records(text), found, out, problems=[text])
    readme, html = ((out / name).read_text() for name in ("README.md", "report.html"))
    for page in (readme, html):
        assert printable(page) == page  # no escapes, no halves of letters
    rendered = Page(html_of(readme))  # tags match
    assert set(rendered.tags) <= TAGS
    assert all(link.startswith(("figures/", "report.html")) for link in rendered.links)
    assert Page(html).tags.count("script") == 1  # the page's own
    assert Page(html).tags.count("img") == 0
    assert json.loads((out / "results.json").read_text())["title"] == printable(text)


# What our own Markdown makes.
TAGS = {"h1", "h2", "h3", "p", "a", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}
TAGS |= {"strong", "code", "img", "details", "summary"}


@pytest.mark.parametrize("what", HOSTILE)
def test_mlflows_notes_show_hostile_text_as_text(records, what):
    text = HOSTILE[what]
    (run, *_) = [run for run in load_runs(records(text)) if run.result.status == "failed"]
    row = {"model": text, "variant": text}
    part = Part("w", text, text, [Group(text, text, "val/acc")], [row])
    notes = [mirror._note(text, run.result, ""), links.described("1", [part, part])]
    notes.append(links.described("1", [part]))
    notes.append(markdown_table([{text: text}]))
    linked = links.linked(notes[0], "1", part.groups[0], "suite")  # with a command as code
    ours = [*((note, TAGS - {"img", "code"}) for note in notes), (linked, TAGS | {"br"})]
    for note, allowed in ours:
        rendered = Page(html_of(printable(note)))
        assert set(rendered.tags) <= allowed - {"img"} | {"a"}
        assert all(link.startswith("#/experiments/") for link in rendered.links)


@pytest.mark.parametrize("what", ["a formula", "half a formula", "what no font has", "very long"])
def test_figures_show_hostile_names_as_text(records, found, tmp_path, what):
    text, out = HOSTILE[what], tmp_path / "out"
    seconds = {"native": [1.0, 1.1] * 5, "dyt": [1.2, 1.3] * 5, AA: [1.0, 1.1] * 5}
    made = records(text)
    timings = {str(r.about()["task_identity"]): seconds for r in made}
    write_report(SuiteRuns(text, []), made, found, out, timings)
    page = (out / "README.md").read_text()
    assert "could not be drawn" not in page
    for figure in ("curves", "summary"):
        assert (out / "figures" / f"{figure}.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_a_line(records, found, tmp_path, monkeypatch):
    from dyt_bench.report import charts
    from dyt_bench.report.figures import curves

    def fails(*_, **__):
        raise ValueError("no <ink>")

    monkeypatch.setattr(curves, "sheet", fails)
    monkeypatch.setattr(charts, "training", fails)
    monkeypatch.setattr(charts, "alpha", fails)
    write_report(SuiteRuns("t", []), records("x"), found, tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    assert "figures/curves.png could not be drawn: ValueError: no &lt;ink>" in page
    assert "](figures/curves.png)" not in page
    html = (tmp_path / "out" / "report.html").read_text()
    assert html.count("could not be drawn: ValueError: no &lt;ink&gt;") >= 3


def test_a_picture_that_cannot_be_read_is_a_line(records, found, tmp_path, undrawn):
    made = records("x")
    (made[0].folder / "artifacts").mkdir()
    (made[0].folder / "artifacts" / "p.png").symlink_to("nowhere")
    write_report(SuiteRuns("t", []), made, found, tmp_path / "out")
    assert (
        "p.png cannot be read: it is a link to nothing"
        in (tmp_path / "out" / "report.html").read_text()
    )


def test_runs_of_what_is_not_installed_are_left_out_and_said(records, found, tmp_path, undrawn):
    made = records("x")
    for record, changes in zip(made, ({"domain": "gone"}, {"model": "gone"}), strict=False):
        file = record.folder / "run.json"
        about = json.loads(file.read_text())
        about["parameters"] |= changes
        file.write_text(json.dumps(about))
    write_report(SuiteRuns("t", []), made, found, tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    assert "- 1 run left out: unknown domain 'gone'" in page
    assert "- 1 run left out: no model 'gone' in vision" in page
    assert len(json.loads((tmp_path / "out" / "results.json").read_text())["runs"]) == 2


def test_groups_of_like_names_have_suites_of_their_own(records, found, tmp_path, undrawn):
    made = records("é")
    again = records("è")
    write_report(SuiteRuns("t", []), [*made, *again], found, tmp_path / "out")
    texts = {file.read_text() for file in (tmp_path / "out" / "suites").iterdir()}
    assert len(texts) == 3
    assert (
        {"/data/é" in text for text in texts}
        == {"/data/è" in text for text in texts}
        == {
            True,
            False,
        }
    )


SUITE = "name: s\nsteps: 4\nexecutor: instant\ntasks:\n- {domain: tiny, models: [line]}\n"


def test_a_metric_never_logged_is_a_failed_run(instant, undrawn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(SUITE)
    monkeypatch.setattr(InstantExecutor, "metric", "val/other")
    for arguments in ([], ["--until", "decided"]):
        ended = instant("run", "s.yaml", *arguments)
        assert ended.exit_code == 1, ended.output
        assert (
            "failed: it never logged val/loss, by which its domain is judged (see" in ended.stderr
        )


@pytest.mark.parametrize(
    ("occupy", "said"),
    [
        (lambda out: out.write_text(""), "Directory 'out' is a file"),
        (lambda out: (out / "README.md").mkdir(parents=True), "README.md is a folder"),
        (lambda out: (out.mkdir(), (out / "figures").touch()), "figures is no folder"),
        (lambda out: out.symlink_to(out), "File exists"),
    ],
    ids=["a file", "a folder for a page", "a file for a folder", "a link to itself"],
)
def test_where_no_report_can_be_written_nothing_is_trained(
    instant, tmp_path, monkeypatch, occupy, said
):
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(SUITE)
    occupy(tmp_path / "out")
    ended = instant("run", "s.yaml", "--out", "out")
    assert ended.exit_code == 2, ended.output
    assert said in ended.stderr
    assert InstantExecutor.trained == []


def test_trying_leaves_nothing(tmp_path):
    try_out(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="name another folder with --out"):
        try_out(tmp_path / "file" / "b")


def test_what_is_escaped_reads_as_it_was():
    for text in ("label_accuracy", "+0.01 [-0.1, +0.2]", "a (b) c-d", "lr=0.1 ×2 → 3"):
        assert escaped(text) == text
