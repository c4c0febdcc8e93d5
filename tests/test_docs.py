"""Pages of documentation: links lead somewhere, and the map of the code names every package."""

import re
from pathlib import Path

import pytest
import yaml

from pinet_kedro.serving.config import Serving

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page):
    """Anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def test_the_map_names_every_package():
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Map of the code")[2]
    found = set(re.findall(r"^  (\w+)(?:/|\.py)  ", text, re.MULTILINE))
    packages = {path.parent.name for path in (ROOT / "src/pinet_kedro").glob("*/__init__.py")}
    assert packages <= found
    assert all(
        (ROOT / "src/pinet_kedro" / name).is_dir() or (ROOT / f"src/pinet_kedro/{name}.py").exists() for name in found
    )


def test_the_deployment_of_the_docs_fits_the_server():
    """Probes reach the port with a `Host` that is allowed, and a stopping server has its time."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/serving.md").read_text(encoding="utf-8"), re.DOTALL)
    found = {entry["kind"]: entry["spec"] for block in blocks for entry in yaml.safe_load_all(block)}
    pod, config = found["Deployment"]["template"]["spec"], Serving()
    container = pod["containers"][0]
    assert container["ports"] == [{"containerPort": config.port}]
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[name]["httpGet"]
        assert (asked["path"], asked["port"]) == ("/ping", config.port)
        assert {header["value"] for header in asked["httpHeaders"]} <= set(config.hosts)
    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"] + config.stop_seconds
    assert pod["terminationGracePeriodSeconds"] > waits
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= config.start_seconds
    assert found["Service"]["ports"][0]["targetPort"] == config.port
    labels = found["Deployment"]["template"]["metadata"]["labels"]
    assert found["PodDisruptionBudget"]["selector"]["matchLabels"] == found["Service"]["selector"] == labels
