"""The pages of the documentation, and the commands on them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")])
_FENCED = re.compile(r"^ *```\w*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_COMMAND = re.compile(r"(?:^|[\s/\[=])((?:pinet-)?kedro,? |make )(.*)")
# What a reader fills in: [VERSION], --pipeline=NAME, --params=…, <dataset>, a backbone of one's own.
_PLACEHOLDER = re.compile(r"^\[|=[A-Z]+$|^--.*…|<|=mine$")
_END = ("&&", "|", ";", ">", ">>", "#")

Command = tuple[str, list[str]]  # the program, kedro or make, and its arguments


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def spans(page: Path) -> list[str]:
    """What stands `between backticks`, outside blocks."""
    return [" ".join(span.split()) for span in _SPAN.findall(_FENCED.sub("", text_of(page)))]


def blocks(page: Path) -> list[str]:
    """What stands between lines of three backticks."""
    return _FENCED.findall(text_of(page))


def words(line: str) -> list[str]:
    """The words of a command as a shell reads them, without placeholders such as [VERSION]; lists of YAML as well."""
    if "]" in line and ", " in line:
        line = line.partition("]")[0].replace(", ", " ")
    found = []
    for word in shlex.split(line, comments=True):
        if word.startswith(_END):
            break
        found.append(word)
    if len(found) > 1 and found[-1] == "…" and not found[-2].startswith("--reason"):
        found.pop()
    return [word for word in found if not _PLACEHOLDER.search(word)]


def command(line: str) -> Command | None:
    """The command of a line; one with an ellipsis is only mentioned."""
    found = _COMMAND.search(line)
    if not found or "---" in line:
        return None
    program, given = found[1].strip(" ,").removeprefix("pinet-"), words(found[2])
    return (program, given) if given and given[0] != "…" else None


def to_run(page: Path) -> Iterator[Command]:
    """The commands of the page's blocks."""
    yield from filter(None, (command(line) for block in blocks(page) for line in block.splitlines()))


def asked(page: Path) -> Iterator[tuple[list[str], str]]:
    """The requests by curl in the page's blocks, as words of a shell, each with the answer that follows it."""
    for block in blocks(page):
        before, _, rest = block.partition("curl ")
        if rest and not before:
            lines = rest.splitlines()
            end = next(n for n in range(1, len(lines) + 1) if "\n".join(lines[:n]).count("'") % 2 == 0)
            yield ["curl", *shlex.split("\n".join(lines[:end]))], "\n".join(lines[end:])


def mentioned(page: Path) -> Iterator[Command]:
    """The commands of the page's text."""
    for span in spans(page):
        if span.startswith(("--params=", "--env=", "--pipeline=")):
            span = f"kedro run {span}"
        if re.match("(pinet-)?kedro |make ", span) and (found := command(span)):
            yield found
