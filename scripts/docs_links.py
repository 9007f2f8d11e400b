"""Hooks of mkdocs: the list of decisions, and links from pages to files of the repository, which the site does not have."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(\]\()((?:\.\./)+[^)\s#]+)(#[^)\s]*)?(\))")
_FENCE = re.compile(r"(?ms)^(```|~~~).*?^\1[ \t]*$")


def on_files(files: Files, config: Any) -> Files:
    """Add a page that lists the decisions."""
    pages = sorted(Path(config.docs_dir, "decisions").glob("[0-9]*.md"))
    lines = [f"- [{page.open().readline().lstrip('# ').strip()}]({page.name})" for page in pages]
    text = (
        "# Decisions\n\nWhy things are as they are, each on a page.\n\n" + "\n".join(lines) + "\n"
    )
    files.append(File.generated(config, "decisions/index.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead links that leave docs/ to the repository; PluginError for one that leads nowhere."""
    folder = posixpath.dirname(page.file.src_uri)

    def lead(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, match[2]))
        if path.startswith("docs/"):
            return match[0]
        target = ROOT / path
        if path.startswith("..") or not target.exists():
            raise PluginError(f"{page.file.src_uri}: `{match[2]}` does not exist")
        kind = "tree" if target.is_dir() else "blob"
        return f"{match[1]}{config.repo_url}/{kind}/main/{path}{match[3] or ''}{match[4]}"

    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += _LINK.sub(lead, markdown[end : fence.start()]), fence[0]
        end = fence.end()
    return "".join([*parts, _LINK.sub(lead, markdown[end:])])
