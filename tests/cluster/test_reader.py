"""The API server that is asked, and the way to Services: from outside by a kubeconfig, from a pod by its account."""

import pytest
from kubernetes.config import incluster_config

from driftloop.cluster.forward import reach_url
from driftloop.cluster.reader import ApiReader, ClusterError

STORE = "http://seaweedfs-s3.storage.svc.cluster.local:8333"


@pytest.fixture
def pod(tmp_path, monkeypatch):
    """What kubelet gives to a pod."""
    for name, file in (("SERVICE_TOKEN_FILENAME", "token"), ("SERVICE_CERT_FILENAME", "ca.crt")):
        (tmp_path / file).write_text("something")
        monkeypatch.setattr(incluster_config, name, str(tmp_path / file))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)


@pytest.mark.usefixtures("pod")
def test_a_pod_asks_its_own_cluster_and_reaches_services_by_their_names():
    assert ApiReader().address == "https://10.0.0.1:443"
    with reach_url(STORE) as url:
        assert url == STORE


@pytest.mark.usefixtures("pod")
def test_a_pod_that_names_another_cluster_asks_that_one(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ClusterError, match="no cluster is configured"):
        ApiReader()
