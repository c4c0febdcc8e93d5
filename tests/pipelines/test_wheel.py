"""The wheel, installed in an environment of its own, with nothing but `conf/` beside it."""

import os
import shutil
import site
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

ROOT = Path(__file__).parents[2]
BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"


def call(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout


@pytest.fixture(scope="module")
def pinet_kedro(tmp_path_factory):
    """The command of a fresh environment with the wheel; all other packages are those of the tests' environment."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"  # a build leaves files beside them
    shutil.copytree(ROOT / "src", sources / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    wheel = folder / call(sys.executable, "-c", BUILD, str(folder), cwd=sources).splitlines()[-1]
    call(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"))
    python = folder / "venv/bin/python"
    call(sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    (packages,) = (folder / "venv/lib").glob("python*/site-packages")
    # A line of a .pth file is a path alone: the editable project of the tests' environment does not come along.
    (packages / "shared.pth").write_text("\n".join(site.getsitepackages()))
    return folder / "venv/bin/pinet-kedro"


@pytest.fixture
def internet():
    """Addresses that anything outside was asked for, and the environment of a process that can reach no other way."""
    asked = []

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self):
            asked.append(self.path)
            self.send_error(403)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Proxy)
    Thread(target=server.serve_forever, daemon=True).start()
    left_out = ("PYTHONPATH", "DO_NOT_TRACK", "KEDRO_DISABLE_TELEMETRY", "NO_PROXY", "no_proxy")
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    yield asked, environment | dict.fromkeys(proxies, f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


def test_the_wheel_runs_where_conf_is_and_sends_nothing(pinet_kedro, internet, tmp_path):
    asked, environment = internet
    shutil.copytree(ROOT / "conf", tmp_path / "conf", ignore=shutil.ignore_patterns("local"))
    run = subprocess.run(
        [pinet_kedro, "run", "--pipeline=data_validation", "--env=test"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "data/02_intermediate/clean_events.parquet").exists()
    assert "Data Docs: " in run.stderr
    assert "WARNING" not in run.stderr
    # `kedro` itself, in the same folder, shows that this proxy would have seen it.
    kedro = [pinet_kedro.with_name("python"), "-c", "from kedro.framework.cli.cli import main; main()", "--version"]
    assert asked == []
    subprocess.run(kedro, cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert len(asked) == 1


def test_without_conf_it_says_what_is_missing_and_helps_all_the_same(pinet_kedro, internet, tmp_path):
    _, environment = internet
    refused, version, helped = (
        subprocess.run(
            [pinet_kedro, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        for arguments in (["run", "--pipeline=full"], ["--version"], ["--help"])
    )
    assert refused.returncode == 1
    assert "There is no configuration here" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert version.stdout.endswith("pinet-kedro, version 0.1.0\n")
    assert "promote" in helped.stdout
    assert list(tmp_path.iterdir()) == []
