"""Classes of a graph, each of which its answer tells of: a scale, a trained model, a rule, a vote, a switch."""

from pathlib import Path

import numpy as np


class Times:
    """The released model: as many times what it is asked as its file says."""

    def __init__(self, model_uri):
        self.factor = float((Path(model_uri) / "factor").read_text())

    def predict(self, X, names=None, meta=None):
        return np.asarray(X, dtype=float) * self.factor


class Scale:
    """Divides by what its file says."""

    def __init__(self, model_uri):
        self.by = float((Path(model_uri) / "by").read_text())

    def transform_input(self, X, names=None, meta=None):
        return np.asarray(X, dtype=float) / self.by


class Plus:
    """A hundred more than what it is asked."""

    def predict(self, X, names=None, meta=None):
        return np.asarray(X, dtype=float) + 100


class Mean:
    """The mean of the answers below."""

    def aggregate(self, features_list, names_list=None, meta=None):
        return np.mean([np.asarray(features, dtype=float) for features in features_list], axis=0)


class Sign:
    """The first child for what is not negative, the second otherwise."""

    def route(self, X, names=None, meta=None):
        return int(float(np.asarray(X, dtype=float).ravel()[0]) < 0)
