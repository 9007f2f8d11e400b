"""What is read of a Dockerfile, and what is refused with its line."""

from pathlib import Path

import pytest

from driftloop.errors import LocalError
from driftloop.local.kubelet import dockerfile

ROOT = Path(__file__).parents[2]


def base(folder: Path, text: str) -> str:
    file = folder / "Dockerfile"
    file.write_text(text)
    return dockerfile.read_base_image(file)


@pytest.mark.parametrize(
    "text",
    [
        "FROM a",
        "# escape\nARG V=1\nfrom b AS c\nRUN make \\\n  # why\n  all\nFROM --platform=$P a\nUSER 1",
        "FROM a\nRUN <<END sh\nFORM x\nEND\nCOPY --from=b <<'ONE' <<-TWO /x/\nhello\nONE\nworld\nTWO\nCMD [\"x\"]",
        'FROM a\nLABEL x="a \\\n\n b"\nENV A=1 \\\n    B=2\n',
        "FROM a\nCMD echo $((1 << x))\nUSER 1",
    ],
)
def test_the_base_is_the_last_from(tmp_path: Path, text: str) -> None:
    assert base(tmp_path, text) == "a"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Dockerfile has no FROM line"),
        ("FROM\n", "Dockerfile has no FROM line"),
        (
            "\nFORM x\n",
            "Dockerfile:2: `FORM` is not an instruction, must be one of: ADD, ARG, CMD,",
        ),
        ("FROM x\nRUN a \\\n  b\nCOPPY . .\n", "Dockerfile:4: `COPPY` is not an instruction"),
        ("ARG A\nRUN x\n", "Dockerfile:2: RUN comes before any FROM"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(LocalError) as error:
        base(tmp_path, text)
    assert said in error.value.message


def test_every_dockerfile_here_is_understood() -> None:
    files = [
        file for folder in ("pipeline", "examples") for file in (ROOT / folder).rglob("Dockerfile*")
    ]
    assert len(files) > 5
    for file in files:
        assert dockerfile.read_base_image(file)
