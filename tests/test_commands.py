"""Commands in README and docs: each exists with its options, and so does everything that it names."""

import ast
import re
import subprocess
import sys
from functools import cache

import click
import pytest
from kedro.framework.cli.cli import KedroCLI
from kedro.framework.context import KedroContext
from kedro.framework.startup import bootstrap_project

from documented import PAGES, ROOT, mentioned, spans, to_run
from pinet_kedro.cli import cli as ours
from pinet_kedro.cli.run import _check_selection
from pinet_kedro.runs.input_checks import ParameterChecks
from pinet_kedro.runs.loader import ConfigurationLoader
from pinet_kedro.runs.sections import SECTIONS, typed_sections
from pinet_kedro.settings import CONFIG_LOADER_ARGS

# Environments of a reader: of their own (CONTRIBUTING.md), and the one that tuning writes.
OWN = {"mine", "tuned"}
# Named like parameters: a tag of MLflow, and an entry of the catalog that a pattern makes.
OTHERS = {"refresh.of", "retraining.base_model"}

FOUND = [
    pytest.param(program, given, id=f"{page.name}: {program} {' '.join(given)}")
    for page in PAGES
    for program, given in dict.fromkeys((program, tuple(given)) for program, given in (*to_run(page), *mentioned(page)))
]


@pytest.fixture(scope="module", autouse=True)
def project():
    """The project as `kedro` starts in its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        bootstrap_project(ROOT)
        yield


@pytest.fixture(autouse=True)
def shell(monkeypatch):
    """Variables that conf/prod and the environments of data take from the shell."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    monkeypatch.setenv("PINET_DATA", "data/01_raw")


@cache
def kedro():
    return KedroCLI(ROOT)


def parsed(words):
    """The context of a command with its arguments, as click parses them."""
    command, context, rest = kedro(), click.Context(kedro(), info_name="kedro"), list(words)
    while rest and isinstance(command, click.Group):
        name = rest.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        command = found
        context = click.Context(command, context, name)
    numbers = {p.name for p in command.params if isinstance(p, click.Argument) and p.type is click.INT}
    return command.make_context(command.name, ["1" if w == "VERSION" and numbers else w for w in rest], context.parent)


@cache
def check_parameters(env, given):
    """As a run does before it starts."""
    params = ast.literal_eval(given)
    loader = ConfigurationLoader(ROOT / "conf", env, runtime_params=params, **CONFIG_LOADER_ARGS)
    context = KedroContext.__new__(KedroContext)
    context.__dict__.update(config_loader=loader, env=env)
    ParameterChecks().after_context_created(context)


@pytest.mark.parametrize(("program", "given"), FOUND)
def test_a_command_of_the_docs_exists_with_all_that_it_names(program, given):
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        variables = re.findall(r"\$\((\w+)\)", (ROOT / "Makefile").read_text(encoding="utf-8"))
        for word in given:
            assert word.partition("=")[0] in (variables if "=" in word else targets), word
        # What it would do, without doing it.
        done = subprocess.run(["make", "-n", *given], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return
    options = parsed(given).params
    env = options.get("env")
    assert env is None or env in OWN or (ROOT / "conf" / env).is_dir(), env
    if "pipeline" in options and "from_nodes" in options:
        _check_selection(options)
        check_parameters(None if env in OWN else env, repr(options["params"]))


@cache
def defaults():
    """The parameters of conf/base, and what has a name like one."""
    loader = ConfigurationLoader(ROOT / "conf", None, **CONFIG_LOADER_ARGS)
    return typed_sections(loader["parameters"]), {*loader["catalog"], *OTHERS}


def has(value, name):
    """Whether a parameter has this field or key."""
    return name in value if isinstance(value, dict) else hasattr(value, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_parameter_that_the_docs_name_exists(page):
    known, others = defaults()
    for span in spans(page):
        if span in others:
            continue
        section, *parts = re.match(r"[\w.]*", span)[0].split(".")
        if section not in SECTIONS or not parts or parts[-1] in ("json", "html", "yml"):
            continue
        value = known[section]
        for part in parts:
            assert has(value, part), span
            value = value[part] if isinstance(value, dict) else getattr(value, part)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (("pomote",), "no command"),
        (("promote", "--forced"), "No such option"),
        (("run", "--pipeline=fulll"), "no pipeline"),
        (("run", "--params=backbone_training.schedule.epoch=3"), "epoch"),
        (("run", "--params=trainin.epochs=3"), "no such parameter"),
        (("run", "--env=staging"), "staging"),
        (("run", "--from-nodes=nowhere"), "no such name"),
    ],
)
def test_a_wrong_command_is_seen(given, error):
    with pytest.raises(Exception, match=error):
        test_a_command_of_the_docs_exists_with_all_that_it_names("kedro", given)


@pytest.mark.parametrize("given", [("tests",), ("bench", "BENCHES=step")])
def test_a_wrong_target_is_seen(given):
    with pytest.raises(AssertionError):
        test_a_command_of_the_docs_exists_with_all_that_it_names("make", given)


def test_the_help_lists_each_command_once_and_ours_in_whole_sentences():
    shown = kedro().get_help(click.Context(kedro(), info_name="kedro", terminal_width=80))
    listed = re.findall(r"^  (\w+)  +(.*)$", shown, re.MULTILINE)
    names = [name for name, _ in listed]
    assert names.count("run") == 1
    assert sorted(set(names)) == sorted(names)
    assert all(text.endswith(".") and "..." not in text for name, text in listed if name in ours.commands)


@pytest.mark.parametrize("command", ours.commands.values(), ids=ours.commands)
def test_every_option_of_ours_shows_its_default(command):
    for option in command.params:
        if isinstance(option, click.Option) and not option.is_flag and command.name != "run":
            assert option.show_default or option.name in ("history", "reason"), option.name
            assert option.help


def test_a_run_says_that_it_starts_before_anything_slow_is_imported():
    """Pandas, torch, MLflow and plotly take seconds; with them the first line came after three."""
    script = (
        "import sys, logging\n"
        "from pinet_kedro.cli.run import run\n"
        "import pinet_kedro.settings\n"
        "logging.getLogger('pinet_kedro').info = lambda *line: sys.exit(repr((line[0] % line[1:], "
        "[name for name in ('pandas', 'torch', 'mlflow', 'plotly', 'scipy') if name in sys.modules])))\n"
        "run.main(['--pipeline=full', '--env=test'])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "('Starting full, environment test', [])"


def test_the_options_of_a_run_show_what_kedro_does_without_them():
    defaults = {option.name: option.show_default for option in ours.commands["run"].params}
    assert (defaults["pipeline"], defaults["runner"]) == ("full", "SequentialRunner")


def test_many_commands_are_found():
    programs = [found.values[0] for found in FOUND]
    assert programs.count("kedro") > 50
    assert programs.count("make") > 8
