"""image.json of the local runtime: a registered image, written by `driftloop up` and read by each
local program that starts its processes."""

from dataclasses import dataclass

from driftloop.contract.documents import document_key, from_json, is_text, is_texts, parse_json


def _is_scripts(value: object) -> bool:
    return isinstance(value, dict) and all(is_text(target) for target in value.values())


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """image.json: the content of one registered image."""

    ref: str = document_key("ref", "an image ref", is_text)
    """Ref that it is registered by."""
    digest: str = document_key("digest", "a digest", is_text)
    """Digest over environment, code and scripts; the name of its folder."""
    content: str = document_key("content", "a text", lambda v: isinstance(v, str))
    """Digest of the folder that it was made from."""
    env: str = document_key("env", "a path", is_text)
    """Folder of its Python environment."""
    app: str = document_key("app", "a path", is_text)
    """Folder of its code."""
    bin: tuple[str, ...] = document_key("bin", "a list of paths", is_texts, read=tuple, write=list)
    """Folders of its own scripts."""
    scripts: dict[str, str] = document_key("scripts", "functions by script", _is_scripts)
    """Name of each script to its `module:function`."""

    @classmethod
    def parse(cls, text: str | bytes) -> "ImageRecord":
        """Read the record from JSON text; DocumentError."""
        return from_json(cls, parse_json(text, label="the image"), label="the image", closed=False)
