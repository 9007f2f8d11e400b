"""Findings are left out by comments, codes and paths, and by nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from driftloop.check import Finding, Severity
from driftloop.check.ignoring import IgnoreRule, find_comments, leave_out


def finding(path: str = "a.yaml", line: int = 1, code: str = "DL607") -> Finding:
    return Finding(path, line, 1, code, Severity.WARNING, "", "what", "why", "fix")


TEXT = """\
a: 1  # driftloop: ignore[DL607]
# driftloop: ignore[dl204, DL801]
# because
b: 2
c: "# driftloop ignore[DL607]"
d: 4  # driftloop: ignore[DL999]
"""


def test_a_comment_speaks_of_its_line_or_of_the_next() -> None:
    assert [(each.line, each.target, sorted(each.codes)) for each in find_comments(TEXT)] == [
        (1, 1, ["DL607"]),
        (2, 4, ["DL204", "DL801"]),
        (6, 6, ["DL999"]),
    ]
    found = [finding(line=1), finding(line=2), finding(line=4), finding(line=4, code="DL801")]
    told, ignored, notes = leave_out([*found, finding(line=5)], {"a.yaml": TEXT})
    assert [(each.line, each.code) for each in told] == [(2, "DL607"), (4, "DL607"), (5, "DL607")]
    assert (ignored, notes) == (2, ("a.yaml:6: `DL999` is not a finding's code",))
    assert leave_out(found, {"b.yaml": TEXT})[1] == 0


def test_a_rule_is_of_a_code_and_of_paths() -> None:
    found = [finding("tests/x/a.yaml"), finding("app/a.yaml"), finding("app/a.yaml", code="DL801")]
    rules = (IgnoreRule("DL607", ("tests/**",)), IgnoreRule("DL801"))
    assert leave_out(found, {}, rules)[:2] == ((found[1],), 2)


@given(st.text(), st.lists(st.integers(1, 20), max_size=4))
def test_no_text_leaves_out_what_it_does_not_name(text: str, lines: list[int]) -> None:
    found = [finding(line=line, code="DL001") for line in lines]
    told, ignored, _ = leave_out(found, {"a.yaml": text.replace("DL001", "")})
    assert (len(told), ignored) == (len(found), 0)
