"""`$(NAME)` in a container's command, arguments and environment, as Kubernetes reads it."""

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$(?:(\$)|\(([A-Za-z_][A-Za-z0-9_]*)\))")


def expand_references(text: str, env: Mapping[str, str]) -> str:
    """The variables' values in place of their names; an unknown name stays as it is, and `$$` is
    one `$`.
    """
    return _REFERENCE.sub(lambda match: "$" if match[1] else env.get(match[2], match[0]), text)
