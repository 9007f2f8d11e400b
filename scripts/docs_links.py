"""Hooks of mkdocs: pages that the repository has elsewhere, the list of decisions, and links from pages to files of the
repository, which the site does not have."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(\]\()((?:\.\./)+[^)\s#]+)(#[^)\s]*)?(\))")
_FENCE = re.compile(r"(?ms)^(```|~~~).*?^\1[ \t]*$")


ROOT_PAGES = {
    "security.md": "SECURITY.md",
    "contributing.md": ".github/CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
"""Page of the site -> the file that it is, outside docs/."""
_ANY_LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)\s#]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are elsewhere, and one that lists the decisions."""
    for name, source in ROOT_PAGES.items():
        folder = posixpath.dirname(source)
        moved = _ANY_LINK.sub(
            lambda match, folder=folder: match[1] + _find_page(posixpath.join(folder, match[2])),
            (ROOT / source).read_text(),
        )
        files.append(File.generated(config, name, content=moved))
    pages = sorted(Path(config.docs_dir, "decisions").glob("[0-9]*.md"))
    lines = [f"- [{page.open().readline().lstrip('# ').strip()}]({page.name})" for page in pages]
    text = (
        "# Decisions\n\nWhy things are as they are, each on a page.\n\n" + "\n".join(lines) + "\n"
    )
    files.append(File.generated(config, "decisions/index.md", content=text))
    return files


def _find_page(path: str) -> str:
    """Return where a page at the site's root finds a path of the repository."""
    path = posixpath.normpath(path)
    known = {source: name for name, source in ROOT_PAGES.items()}
    return known.get(path) or (path[5:] if path.startswith("docs/") else f"../{path}")


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
