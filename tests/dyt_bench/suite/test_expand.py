"""Suite files: what a good one expands to, and one sentence for every mistake."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dyt_bench.discovery.domains import discover
from dyt_bench.errors import UserError
from dyt_bench.plugin.task import Run, run_of
from dyt_bench.suite.expand import Selection, default_val_every, load_suite
from dyt_bench.suite.names import WITHOUT_ALPHA
from dyt_bench.suite.shipped import shipped


@pytest.fixture(scope="module")
def found():
    return discover()


@pytest.fixture
def load(tmp_path, found):
    def loaded(text, **selection):
        path = tmp_path / "suite.yaml"
        path.write_text(text)
        return load_suite(path, found, Selection(**selection))

    return loaded


def test_the_default_suite_covers_five_domains(found):
    suite = load_suite(shipped()["default"], found)
    assert {task.domain for task in suite.tasks} == {"diffusion", "dna", "llm", "speech", "vision"}
    assert {task.seed for task in suite.tasks} == {0, 1, 2}
    for task in suite.tasks:
        labels = [variant.label for variant in suite.variants_of(task)]
        assert labels[:2] == ["native", "dyt"]
        assert set(labels[2:]) <= {"dyt tuned", "dyt calibrated", "dyt calibrated tuned"}


@pytest.mark.parametrize(
    "file", [f for name, f in shipped().items() if "/" not in name], ids=lambda f: f.stem
)
def test_every_suite_is_valid_but_for_data_that_users_bring(found, file):
    message = ""
    try:
        load_suite(file, found)
    except UserError as error:
        message = str(error)
    assert not message or re.search("does not exist|is not on this machine", message)


def test_models_seeds_and_variants_multiply(load):
    suite = load(
        "name: s\nseeds: [0, 3]\nvariants: [native, {name: dyt, alpha_init_value: 0.8}, derf]\n"
        "tasks:\n- {domain: vision, models: [vit, convnext], steps: 10}\n- {domain: dna}\n"
    )
    assert len(suite.runs) == 3 * 2 * 3
    assert [variant.label for variant in suite.variants_of(suite.tasks[0])] == [
        "native",
        "dyt alpha=0.8",
        "derf",
    ]
    assert suite.tasks[0].steps == 10
    assert len({run.identity for run in suite.runs}) == len(suite.runs)


def test_a_selection_narrows_and_changes(load):
    text = "name: s\ntasks:\n- {domain: vision}\n- {domain: dna}\n"
    suite = load(text, domains=("dna",), seeds=3, steps=7)
    assert [(t.domain, t.seed, t.steps) for t in suite.tasks] == [("dna", s, 7) for s in range(3)]


@given(st.integers(1, 100_000))
def test_default_val_every_divides_and_is_seldom(steps):
    every = default_val_every(steps)
    assert steps % every == 0
    assert steps // every <= 5


TASKS = "tasks:\n- domain: vision\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "suite.yaml is empty: a suite has the keys name, title, kind, variants"),
        ("- 1\n", "is not a mapping"),
        ("name: [\n", "suite.yaml:2: not valid YAML"),
        ("name: a\nname: b\n", "suite.yaml:2: key 'name' is given twice"),
        (TASKS, "suite.yaml:1: name: field required"),
        ("name: A b\n" + TASKS, "suite.yaml:1: name: string should match"),
        ("nam: s\n" + TASKS, "suite.yaml:1: nam: unknown key 'nam'.*did you mean 'name'"),
        (
            f"name: s\n{TASKS}  stesp: 3\n",
            r"suite.yaml:4: tasks\[0\].stesp: unknown key 'stesp': expected one of domain, .*"
            "did you mean 'steps'",
        ),
        (
            f"name: s\n{TASKS}  steps: 0\n",
            r"suite.yaml:4: tasks\[0\].steps: input should be greater .*, got 0",
        ),
        (
            f"name: s\n{TASKS}  models: [vit, vti]\n",
            r"suite.yaml:4: tasks\[0\].models\[1\]: unknown model 'vti'.*did you mean 'vit'",
        ),
        (
            f"name: s\n{TASKS}  datasets: [digit]\n",
            r"suite.yaml:4: .*unknown data set 'digit'.*did you mean 'digits'",
        ),
        (
            "name: s\ntasks:\n- domain: visoin\n",
            r"suite.yaml:3: tasks\[0\].domain: unknown domain 'visoin'.*did you mean 'vision'",
        ),
        (
            f"name: s\nvariants:\n- native\n- dtt\n{TASKS}",
            r"suite.yaml:4: variants\[1\]: unknown variant 'dtt'.*did you mean 'dyt'",
        ),
        (
            f"name: s\nvariants: [{{name: dyt, alfa: 1}}]\n{TASKS}",
            r"suite.yaml:2: variants\[0\].alfa: unknown key 'alfa': expected one of name, alpha",
        ),
        (
            f"name: s\nvariants: [{{name: dyt, recipe: lama}}]\n{TASKS}",
            r"suite.yaml:2: variants\[0\].recipe: unknown recipe 'lama'.*did you mean 'llama'",
        ),
        (
            f"name: s\nvariants: [{{name: native, recipe: llama}}]\n{TASKS}",
            "the native norm takes no options",
        ),
        (
            f"name: s\nvariants: [dyt, dyt]\n{TASKS}",
            "run vision/vit/digits/s0 dyt is listed twice",
        ),
        (
            f"name: s\nnorms: [native, dyt]\n{TASKS}",
            "suite.yaml:2: norms: the key 'norms' is now called 'variants': rename it",
        ),
        (
            f"name: s\n{TASKS}  norms: [native]\n",
            r"suite.yaml:4: tasks\[0\].norms: the key 'norms' is now called 'variants'",
        ),
        (f"name: s\ncell_timeout: 2h\n{TASKS}", "'cell_timeout' is now called 'run_timeout'"),
        (f"name: s\ncell_memory: 8GiB\n{TASKS}", "'cell_memory' is now called 'run_memory'"),
        (
            f"name: s\n{TASKS}  cell_memory: 8GiB\n",
            r"tasks\[0\].cell_memory: unknown key 'cell_memory': expected one of domain",
        ),
        (f"name: s\n{TASKS}  steps: 10\n  val_every: 3\n", "val_every: must divide steps"),
        (
            "name: s\ntasks:\n- domain: molecules\n  options: {split: scafold}\n",
            r"suite.yaml:4: tasks\[0\].options: data set 'nci': split must be random or scaffold, "
            "got 'scafold'",
        ),
        (f"name: s\n{TASKS}  path: x\n", "data set 'digits' takes no path"),
        (f"name: s\n{TASKS}  datasets: [folder]\n", "give path, with CLASS/IMAGE.png"),
        (
            f"name: s\n{TASKS}  datasets: [folder]\n  path: nowhere\n",
            "nowhere does not exist: path must name",
        ),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(load, text, message):
    with pytest.raises(UserError, match=message) as caught:
        load(text)
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_the_suites_that_are_there(tmp_path, found):
    (tmp_path / "real.yaml").write_text("name: s")
    with pytest.raises(UserError, match=r"no suite file .*rael.yaml; there are .*real.yaml"):
        load_suite(tmp_path / "rael.yaml", found)


def test_a_selected_domain_must_be_in_the_suite(load):
    with pytest.raises(UserError, match="unknown domain 'dna': expected one of vision"):
        load("name: s\n" + TASKS, domains=("dna",))


def test_a_folder_of_ones_own_is_digested_by_content(load, tmp_path):
    for label in ("a", "b"):
        (tmp_path / "mine" / label).mkdir(parents=True)
        (tmp_path / "mine" / label / "1.png").write_bytes(b"x")
    text = f"name: s\n{TASKS}  datasets: [folder]\n  path: mine\n"
    before = load(text).tasks[0]
    assert before.path == (tmp_path / "mine").resolve()
    (tmp_path / "mine" / "a" / "1.png").write_bytes(b"y")
    assert load(text).tasks[0].data_digest != before.data_digest


def test_an_image_that_changes_its_class_changes_the_identity(load, tmp_path):
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_bytes(name.encode())
    text = f"name: s\n{TASKS}  datasets: [folder]\n  path: mine\n"
    before = load(text).tasks[0].identity
    (tmp_path / "mine" / "a" / "2.png").rename(tmp_path / "mine" / "b" / "2.png")
    assert load(text).tasks[0].identity != before


@pytest.mark.parametrize("path", ["~/mine", "$HOME/mine", "${HOME}/mine"])
def test_a_path_may_be_written_as_for_a_shell(load, tmp_path, monkeypatch, path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "mine" / "a").mkdir(parents=True)
    (tmp_path / "home" / "mine" / "a" / "1.png").touch()
    text = f"name: s\n{TASKS}  datasets: [folder]\n  path: {path}\n"
    assert load(text).tasks[0].path == (tmp_path / "home" / "mine").resolve()


@pytest.mark.parametrize(
    ("path", "said"),
    [(r'"a\0b"', "holds a control character"), ("a" * 5000, "cannot be used: File name too long")],
)
def test_a_path_that_no_system_takes_is_a_mistake(load, path, said):
    with pytest.raises(UserError, match=said):
        load(f"name: s\n{TASKS}  datasets: [folder]\n  path: {path}\n")


def test_entries_of_one_model_are_told_apart_by_what_they_choose(load):
    suite = load(
        "name: s\nvariants: [native]\ntasks:\n- {domain: vision, steps: 4}\n"
        "- {domain: vision, steps: 4, learning_rate: 0.002, train_samples: 100}\n"
    )
    assert [task.group for task in suite.tasks] == [
        "vision/vit/digits",
        "vision/vit/digits lr=0.002 n=100",
    ]
    assert suite.tasks[1].label == "vision/vit/digits/s0 lr=0.002 n=100"


def test_a_papers_values_come_with_their_metric_and_source(load):
    suite = load(
        "name: s\ntasks:\n- domain: vision\n  expected: {native: 0.823, dyt: 0.825}\n"
        "  source: arXiv 2503.10622\n- domain: dna\n"
    )
    assert suite.expected.keys() == {"vision/vit/digits"}
    expected = suite.expected["vision/vit/digits"]
    assert expected.values == {"native": 0.823, "dyt": 0.825}
    assert (expected.metric, expected.source) == ("val/acc", "arXiv 2503.10622")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {domain: vision, training: imagnet}", "did you mean 'imagenet'?"),
        ("- {domain: vision, expected: {derf: 1}}", "unknown variant 'derf'"),
        ("- {domain: vision, train_samples: 0}", "train_samples"),
    ],
)
def test_what_a_task_may_choose_is_checked(load, text, message):
    with pytest.raises(UserError, match=re.escape(message)):
        load(f"name: s\ntasks:\n{text}\n")


def test_an_efficiency_suite_takes_no_recipe(load):
    with pytest.raises(UserError, match="no recipe fits"):
        load(
            "name: s\nkind: efficiency\nvariants: [native, {name: dyt, recipe: paper}]\n"
            "tasks:\n- domain: llm\n"
        )


def test_a_task_may_have_variants_of_its_own(load):
    suite = load(
        "name: s\nvariants: [native, dyt]\ntasks:\n- {domain: vision}\n"
        "- {domain: llm, variants: [native, {name: dyt, recipe: paper}]}\n"
    )
    labels = [[variant.label for variant in suite.variants_of(task)] for task in suite.tasks]
    assert labels == [["native", "dyt"], ["native", "dyt paper"]]
    with pytest.raises(
        UserError, match=re.escape("tasks[0].variants[1].recip: unknown key 'recip'")
    ):
        load("name: s\ntasks:\n- {domain: llm, variants: [native, {name: dyt, recip: paper}]}\n")


def test_a_task_may_have_seeds_of_its_own(load):
    text = "name: s\nseeds: [0, 1]\ntasks:\n- {domain: vision}\n- {domain: llm, seeds: [5, 1]}\n"
    suite = load(text)
    seeds = [(task.domain, task.seed) for task in suite.tasks]
    assert seeds == [("vision", 0), ("vision", 1), ("llm", 1), ("llm", 5)]
    assert {task.seed for task in load(text, seeds=3).tasks} == {0, 1, 2}
    with pytest.raises(UserError, match=r"tasks\[1\].seeds\[1\]: the seed 5 is listed twice"):
        load(text.replace("[5, 1]", "[5, 5]"))


def test_native_trains_twice_the_steps_where_its_plateau_is_measured(load):
    text = (
        "name: s\nseeds: [0, 1, 2, 3]\nsteps: 10\ntasks:\n- {domain: vision, plateau: measured}\n"
    )
    suite = load(text)
    longer = [run for run in suite.runs if run.task.steps == 20]
    assert [(run.variant.label, run.task.seed) for run in longer] == [
        ("native", 0),
        ("native", 1),
        ("native", 2),
    ]
    assert {run.task.val_every for run in longer} == {4}
    assert len(suite.runs) == 4 * 2 + 3
    assert suite.learning == frozenset()


def test_a_missed_plateau_is_of_the_suites_own_steps(load):
    text = "name: s\ntasks:\n- {domain: vision, steps: 10, plateau: missed}\n- domain: dna\n"
    assert load(text).learning == {"vision/vit/digits, 10 steps"}
    assert load(text, steps=40).learning == frozenset()


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("kind: efficiency", "tasks[0].plateau: an efficiency suite trains nothing"),
        ("variants: [dyt]", "tasks[0].plateau: it is native's, which is not among the variants"),
    ],
)
def test_a_plateau_needs_native_runs(load, head, message):
    with pytest.raises(UserError, match=re.escape(message)):
        load(f"name: s\n{head}\ntasks:\n- {{domain: vision, plateau: measured}}\n")


def test_a_papers_values_are_found_by_what_is_trained_whatever_the_rate(load):
    suite = load("name: s\ntasks:\n- {domain: vision, learning_rate: 0.5, expected: {native: 1}}\n")
    assert suite.expected.keys() == {"vision/vit/digits"}


def test_a_seed_is_through_before_the_next_begins(load):
    suite = load("name: s\nseeds: [3, 0]\ntasks:\n- {domain: vision}\n- {domain: dna}\n")
    assert [(t.domain, t.seed) for t in suite.tasks] == [
        ("vision", 3),
        ("dna", 3),
        ("vision", 0),
        ("dna", 0),
    ]


def test_limits_of_runs_come_from_the_suite_or_the_command_line(load):
    text = "name: s\nrun_timeout: 90m\nrun_memory: 8GiB\ntasks:\n- domain: dna\n"
    suite = load(text)
    assert (suite.run_timeout, suite.run_memory) == (5400, 2**33)
    assert load(text, run_timeout=60.0).run_timeout == 60
    with pytest.raises(UserError, match=r"suite.yaml:2: run_timeout: expected a duration such"):
        load(text.replace("90m", "soon"))


def test_layers_without_alpha_are_those_of_dyt():
    import dyt.variants

    without = set(dyt.variants.WITHOUT_ALPHA)
    assert {name for name, build in dyt.variants.VARIANTS.items() if build in without} == (
        WITHOUT_ALPHA
    )


@pytest.mark.parametrize("option", ["alpha_init_value: 0.5", "recipe: calibrated"])
@pytest.mark.parametrize("name", sorted(WITHOUT_ALPHA))
def test_a_layer_without_alpha_takes_no_choice_of_it(load, name, option):
    key = option.partition(":")[0]
    said = re.escape(f"variants[1].{key}: {name!r} has no alpha: leave it out")
    with pytest.raises(UserError, match=said):
        load(f"name: s\nvariants: [native, {{name: {name}, {option}}}]\ntasks:\n- domain: llm\n")


def test_devices_and_micro_batches_are_a_tasks_or_the_suites(load):
    suite = load(
        "name: s\ndevices: 2\nmicro_batch: 4\ntasks:\n- {domain: vision}\n"
        "- {domain: llm, devices: 1, micro_batch: auto}\n"
    )
    assert [(task.devices, task.micro_batch) for task in suite.tasks] == [(2, 4), (1, "auto")]


def test_a_run_of_one_device_is_the_run_it_was(load):
    (plain,) = load("name: s\ntasks:\n- {domain: vision}\n").tasks
    (same,) = load("name: s\ndevices: 1\ntasks:\n- {domain: vision}\n").tasks
    (divided,) = load("name: s\nmicro_batch: 8\ntasks:\n- {domain: vision}\n").tasks
    assert plain.identity == same.identity != divided.identity
    assert "devices" not in Run(task=plain).parameters()
    assert Run(task=divided).parameters()["micro_batch"] == 8
    assert run_of(Run(task=divided).parameters()).task.micro_batch == 8


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("micro_batch: auto", r"strategy: micro_batch: auto tries a step in each process alone"),
        ("optimizer: muon", r"strategy: Muon turns whole matrices"),
    ],
)
def test_what_shared_weights_do_not_take_is_one_sentence(load, keys, said):
    assert load("name: s\ntasks: [{domain: llm, devices: 2, strategy: fsdp2}]\n").tasks
    with pytest.raises(UserError, match=said):
        load(f"name: s\ntasks: [{{domain: llm, devices: 2, strategy: fsdp2, {keys}}}]\n")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("devices: 3", r"\.devices: a batch of 32 cannot be divided among 3 devices: .* of 3"),
        ("micro_batch: 5", r"micro_batch: a batch of 32 .* one device in micro-batches of 5"),
        ("devices: 2, micro_batch: 32", r"among 2 devices in micro-batches of 32: .* of 64"),
        ("micro_batch: many", r"micro_batch.*'many'"),
        ("strategy: magic", r"strategy.*'magic'"),
        ("nodes: 3, devices: 8", r"devices: a batch of 32 cannot be divided among 24 devices"),
        ("nodes: 0", r"nodes"),
        ("devices: 2, strategy: fsdp2", r"strategy: model 'vit' does not take fsdp2: expected ddp"),
        ("devices: 0", r"devices"),
    ],
)
def test_parts_that_are_not_equal_are_named(load, keys, said):
    with pytest.raises(UserError, match=said):
        load(f"name: s\ntasks:\n- {{domain: vision, {keys}}}\n")
