import base64

import pytest

from driftloop.kube.sealed import Scope, SealError, build_secret, scope_of


def secret(**extra):
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "a", "namespace": "n"},
        **extra,
    }


def test_string_data_is_laid_over_data():
    found = build_secret(
        secret(data={"x": base64.b64encode(b"old").decode(), "y": ""}, stringData={"x": "new"})
    )
    assert found.values == {"x": b"new", "y": b""}
    assert found.type == "Opaque"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"kind": "ConfigMap", "apiVersion": "v1"}, "found `ConfigMap`"),
        ("text", "found `str`"),
        ({**secret(stringData={"a": "b"}), "metadata": {}}, "no `metadata.name`"),
        (secret(), "holds no values"),
        (secret(data={"x": "not base64!"}), "`data.x` is not base64"),
        (secret(stringData={"x": 5}), "`stringData.x` is 5"),
    ],
)
def test_what_is_not_a_secret_is_named(document, says):
    with pytest.raises(SealError, match=says):
        build_secret(document)


@pytest.mark.parametrize(
    ("annotations", "scope"),
    [
        (None, Scope.STRICT),
        ({"sealedsecrets.bitnami.com/namespace-wide": "true"}, Scope.NAMESPACE_WIDE),
        ({"sealedsecrets.bitnami.com/namespace-wide": "false"}, Scope.STRICT),
        (
            {
                "sealedsecrets.bitnami.com/namespace-wide": "true",
                "sealedsecrets.bitnami.com/cluster-wide": "true",
            },
            Scope.CLUSTER_WIDE,
        ),
    ],
)
def test_annotations_tell_the_scope(annotations, scope):
    assert scope_of(annotations) is scope


def test_labels_are_what_the_controller_computes():
    assert [scope.encryption_label("n", "a") for scope in Scope] == [b"n/a", b"n", b""]
