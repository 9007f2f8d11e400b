"""Cases from the field are judged as their names say."""

import subprocess
import sys
from pathlib import Path

import driftloop.check
from tests.check.example import variant

EXAMPLES = Path(driftloop.check.__file__).parent / "examples"


def test_what_is_wrong_and_what_is_right_are_counted_apart(tmp_path: Path) -> None:
    text = (EXAMPLES / "DL204.yaml").read_text()
    for case, name, kind in (("1-a", "bad", "bad"), ("1-a", "good", "good"), ("F1-b", "x", "bad")):
        (tmp_path / case).mkdir(exist_ok=True)
        content = "\n".join(variant(text, kind).files.values())
        (tmp_path / case / f"{name}.yaml").write_text(content)
    script = Path(__file__).parent / "field_cases.py"
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()) == (
        1,
        [
            "F1-b: error",
            "found of what is wrong: 1 of 1 (100%)",
            "quiet of what is right: 1 of 2 (50%)",
        ],
    ), done.stderr
