"""JSON that looks like a payload in places."""

from typing import Any

from hypothesis import strategies as st


def json_documents(*keys: str) -> st.SearchStrategy[Any]:
    """Any JSON whose objects have some of these keys."""
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(keys), inner, max_size=4)
        ),
        max_leaves=20,
    )
