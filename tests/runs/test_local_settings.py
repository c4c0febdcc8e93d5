"""Settings in conf/local are those of runs without `--env`."""

import logging
from types import SimpleNamespace

import pytest
import yaml

from pinet_kedro.runs.input_checks import ParameterChecks
from pinet_kedro.runs.loader import ConfigurationLoader


@pytest.mark.parametrize(("env", "warned"), [(None, False), ("local", False), ("mine", True), ("base", True)])
def test_a_run_in_another_environment_says_that_it_does_not_read_them(tmp_path, monkeypatch, caplog, env, warned):
    monkeypatch.chdir(tmp_path)
    written = {"base": {"refresh": {"held_out": 0.5}}, "mine": {}, "local": {"refresh": {"held_out": 0.5}}}
    for folder, content in written.items():
        (tmp_path / "conf" / folder).mkdir(parents=True)
        (tmp_path / "conf" / folder / "parameters.yml").write_text(yaml.safe_dump(content))
    (tmp_path / "conf/local/credentials.yml").write_text("a: {}\n")  # of no run's results
    loader = ConfigurationLoader("conf", env=env, base_env="base", default_run_env="local")
    assert loader.unread() == (["conf/local/parameters.yml"] if warned else [])
    with caplog.at_level(logging.WARNING):
        ParameterChecks().after_context_created(SimpleNamespace(config_loader=loader, env=env))
    assert (f"conf/local/parameters.yml: not read, since --env={env} is given" in caplog.text) == warned
