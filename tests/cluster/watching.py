"""What git and the gateway said of a rollout while it went on, and what the requests of that time became."""

import itertools
import math
import threading
import time
from dataclasses import dataclass

from cluster.world import BACKEND, N, P, release_of, weights_of

SETTLE, LATEST = 3.0, 20.0
"""Seconds until the gateway does what the VirtualService says: counted at least, and at most."""


@dataclass
class Span:
    """A time in which the VirtualService stood still."""

    weights: dict
    """Release id: percent."""
    mirror: str | None
    start: float
    end: float

    def inside(self, settled):
        """The time in which the gateway, which takes so long, did what this says."""
        return self.start + settled, self.end - 1.0

    @property
    def reached(self):
        """The releases that may get one request, as sets: a copy makes it two."""
        if self.mirror is not None:
            return {frozenset({id, self.mirror}) for id in self.weights}
        return {frozenset({id}) for id, percent in self.weights.items() if percent}


def settled(spans, requests):
    """Seconds until the gateway did what a VirtualService said, the longest of the spans.

    `requests` are pairs of when one was sent and the set of releases that got it. A span tells
    when a request was dealt with as it could not have been before; where none can, it is taken to
    be as slow as the others.
    """
    longest = SETTLE
    for before, span in itertools.pairwise(spans):
        new = span.reached - before.reached
        shown = [at for at, got in requests if span.start <= at <= span.end and got in new]
        if shown:
            longest = max(longest, min(shown) - span.start + 1.0)
    return longest


class Watch:
    """Looks at the VirtualService twice a second until it is stopped."""

    def __init__(self, it):
        self._it, self.spans, self._over = it, [], threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(10)

    def _look(self):
        while not self._over.wait(0.5):
            before = time.time()
            try:
                found = self._it.kube.get("virtualservice", P, N)
                copying = self._it.kube.get("virtualservice", f"{P}-mirror", N)
            except AssertionError:
                continue
            if found is None:
                continue
            route = found["spec"]["http"][0]  # Seldon's operator adds one for gRPC
            weights = weights_of(P, route)
            mirror = release_of(P, route["mirror"]) if "mirror" in route else None
            if BACKEND == "seldon" and copying is not None:
                # the operator's route names the candidate, without a weight, once its pods are ready
                candidate = release_of(P, copying["spec"]["http"][0]["mirror"])
                named = {release_of(P, to["destination"]) for to in route["route"]}
                mirror = candidate if candidate in named else None
            last = self.spans[-1] if self.spans else None
            if last is not None and (last.weights, last.mirror) == (weights, mirror):
                last.end = before
            else:
                self.spans.append(Span(weights, mirror, time.time(), before))


def likely(hits, number, share, *, chance=1e-4):
    """Whether so many hits of a share are no wonder: neither tail of the binomial is smaller than `chance`."""

    def mass(i):
        ways = math.lgamma(number + 1) - math.lgamma(i + 1) - math.lgamma(number - i + 1)
        return math.exp(ways + i * math.log(share) + (number - i) * math.log(1 - share))

    below, above = sum(map(mass, range(hits + 1))), sum(map(mass, range(hits, number + 1)))
    return min(below, above) > chance
