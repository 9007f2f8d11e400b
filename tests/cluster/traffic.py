"""A caller that never stops asking the model through the gateway, and remembers every answer."""

import http.client
import json
import threading
import time
import uuid
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """One request and what came of it."""

    id: str
    kind: str
    logged: bool
    """Whether the platform is to make events of it."""
    sent: float
    """Seconds since 1970."""
    took: float
    status: int | str
    """HTTP status, or what the connection said."""
    scores: tuple[float, ...] = ()
    right: bool = False


class Traffic:
    """`rate` requests a second from `callers` connections, while there is a kind of rows to send."""

    def __init__(self, address, path, rows, *, rate, callers=4, names=None):
        self._address, self._path, self._rows = address, path, rows
        self._names = {"names": names} if names else {}
        self._pause = callers / rate
        self._kind, self._logged = None, True
        self._prefix = uuid.uuid4().hex[:6]
        self._lock = threading.Lock()
        self._count = 0
        self._under_way = 0
        self._over = threading.Event()
        self.answers = []
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(callers)]
        for thread in self._threads:
            thread.start()

    def turn(self, kind, *, logged=True):
        """From now on rows of this kind; the number of answers so far."""
        if kind is not None:
            self._rows(kind)
        self._kind, self._logged = kind, logged
        return len(self.answers)

    def pause(self):
        """No more requests; returns once the last is answered."""
        self.turn(None)
        while True:
            time.sleep(0.05)
            with self._lock:
                if self._under_way == 0:
                    return

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join(35)

    def between(self, start, end):
        """Answers to what was sent in this time."""
        return [answer for answer in list(self.answers) if start <= answer.sent <= end]

    def _call(self):
        connection = http.client.HTTPConnection(self._address, timeout=30)
        while not self._over.wait(self._pause):
            with self._lock:
                kind, logged = self._kind, self._logged
                if kind is None:
                    # the gateway ends connections that are idle for long
                    connection.close()
                    continue
                self._count += 1
                number = self._count
                self._under_way += 1
            try:
                self.answers.append(self._ask(connection, number, kind, logged))
            finally:
                with self._lock:
                    self._under_way -= 1

    def _ask(self, connection, number, kind, logged):
        rows = self._rows(kind)
        row, label = rows[number % len(rows)]
        id = f"{self._prefix}-{number:06}"
        headers = {"Content-Type": "application/json", "Seldon-Puid": id}
        if not logged:
            headers["Seldon-Skip-Logging"] = "true"
        sent, clock = time.time(), time.monotonic()
        try:
            connection.request(
                "POST",
                self._path,
                json.dumps({"data": {**self._names, "ndarray": [row]}}),
                headers,
            )
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return Answer(id, kind, logged, sent, time.monotonic() - clock, repr(error))
        took = time.monotonic() - clock
        if response.status != 200:
            return Answer(id, kind, logged, sent, took, response.status)
        scores = tuple(json.loads(body)["data"]["ndarray"][0])
        return Answer(
            id,
            kind,
            logged,
            sent,
            took,
            200,
            scores,
            max(range(len(scores)), key=scores.__getitem__) == label,
        )
