"""Pages: links of those outside the site, tests that SECURITY names, and the commands that pages show.

`scripts/docs` looks at the links of the site itself; guides have tests that run what they show."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from driftloop.cli.root import root

ROOT = Path(__file__).parents[1]
OUTSIDE = [
    ROOT / name
    for name in ("README.md", "SECURITY.md", ".github/CONTRIBUTING.md", ".github/CODE_OF_CONDUCT.md")
]  # fmt: skip
PAGES = sorted(
    path for path in (*ROOT.glob("docs/**/*.md"), *OUTSIDE) if path.name not in ("cli.md",)
)
_INLINE = re.compile(r"(?<!`)`(driftloop [^`\n]*)`(?!`)")
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]*))?\)")


@pytest.mark.parametrize("page", OUTSIDE, ids=lambda page: page.name)
def test_links_of_pages_outside_the_site_lead_somewhere(page: Path) -> None:
    for target, anchor in _LINK.findall(page.read_text()):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        if anchor:
            assert anchor in set(list_anchors(file)), f"{target}#{anchor}"


def list_anchors(page: Path) -> Iterator[str]:
    """Anchors of headings, as GitHub and the site make them."""
    for line in page.read_text().splitlines():
        if line.startswith("#"):
            text = re.sub(r"[^\w\s-]", "", line.lstrip("#").strip().lower())
            yield re.sub(r"\s", "-", text)


def test_every_threat_has_tests_that_exist() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    rows = [
        row
        for table in text.split("| threat | test |\n|---|---|\n")[1:]
        for row in table.partition("\n\n")[0].splitlines()
    ]
    assert len(rows) > 30
    for row in rows:
        named = re.findall(r"`(tests/[\w/.]+)`", row)
        assert named or row.endswith("| the same |"), row
        assert all((ROOT / name).exists() for name in named), row


def list_blocks(text: str) -> Iterator[str]:
    """Yield what the blocks of a page show that are of the shell, of YAML or of no language."""
    language, lines = None, list[str]()
    for line in text.splitlines():
        if line.strip().startswith("```"):
            if language in ("sh", "bash", "yaml", ""):
                yield "\n".join(lines)
            language, lines = (line.strip()[3:] if language is None else None), []
        else:
            lines.append(line)


def list_commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each `driftloop …` that a block of a page shows as typed, without those that are cut short."""
    text = page.read_text()
    for block in (*list_blocks(text), *_INLINE.findall(text)):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            try:
                words = list(split_words(line.strip().removeprefix("$ ")))
            except ValueError:  # a text of several lines
                continue
            while "driftloop" in words:
                start = words.index("driftloop")
                end = next((i for i in range(start, len(words)) if words[i] in CUTS), len(words))
                if (not start or words[start - 1] in CUTS) and "…" not in words[start:end]:
                    yield words[start + 1 : end]
                words = words[end:]


CUTS = ("|", "||", "&&", "&", ";", ">", ">>", "<", "(", ")", "$", "{", "}")


def split_words(line: str) -> Iterator[str]:
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    yield from words


def parse(command: click.Command, words: list[str]) -> None:
    """Take words as the command line does, and run nothing; UsageError for what does not exist."""
    context = click.Context(command, info_name=command.name)
    if isinstance(command, click.Group) and words and words[0] not in ("-h", "--help"):
        # `runs NAME` is short for `runs ls NAME`
        short = command.get_command(context, words[0]) is None
        found = command.get_command(context, "ls" if short else words[0])
        assert found is not None, f"{command.name} {words[0]}"
        parse(found, words if short else words[1:])
        return
    options, _, _ = command.make_parser(context).parse_args(list(words))
    for parameter in command.params:
        value = options.get(parameter.name or "")
        if isinstance(parameter.type, click.Choice) and isinstance(value, str):
            parameter.type.convert(value, parameter, context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_are_shown_exist_with_their_options(page: Path) -> None:
    for words in list_commands(page):
        if words and words[0].startswith("-"):
            continue
        command = root.get_command(click.Context(root), words[0])
        assert command is not None, words
        try:
            parse(command, words[1:])
        except click.BadOptionUsage:
            continue  # a text that names an option, without its value
        except click.UsageError as error:
            pytest.fail(f"driftloop {shlex.join(words)}: {error.format_message()}")


def test_commands_are_found_in_pages() -> None:
    assert sum(len(list(list_commands(page))) for page in PAGES) > 200
