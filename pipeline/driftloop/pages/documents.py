"""Documents from templates, with every value escaped; the style that all of them share."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import BaseLoader, Environment, StrictUndefined, TemplateNotFound
from markupsafe import Markup

from driftloop.pages.svg import clean_text

TEMPLATES = "driftloop.pages"
STYLE_FILE = "style.css"


def render_document(template: str, **values: Any) -> str:
    """Return a document from a template of this package; values that are no Markup are escaped."""
    return build_environment().get_template(template).render(**values)


@cache
def build_environment() -> Environment:
    """Return Jinja's environment of the shared templates; a page of another room may add a loader of its own
    with `overlay`."""
    environment = Environment(
        loader=_PackageTemplates(),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: clean_text(value) if isinstance(value, str) else value,
    )
    environment.globals["style"] = read_style
    return environment


@cache
def read_style() -> Markup:
    """Return the style sheet of all pages: dark and light, from 360 pixels on."""
    return Markup(_read_template(STYLE_FILE))  # noqa: S704 - ours


def digest_style() -> str:
    """Return the source expression by which a Content-Security-Policy lets the style sheet inside a page be."""
    digest = hashlib.sha256(read_style().encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _read_template(name: str) -> str:
    return (files(TEMPLATES) / "templates" / name).read_text()


class _PackageTemplates(BaseLoader):
    def get_source(self, environment: Environment, template: str) -> tuple[str, None, Any]:
        try:
            return _read_template(template), None, lambda: True
        except (FileNotFoundError, IsADirectoryError) as error:
            raise TemplateNotFound(template) from error
