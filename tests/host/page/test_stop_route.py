"""Stop and keep: what the route answers, and which trainings it reaches."""

import asyncio
import json
import threading
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from ti_core.host.page.stop_and_keep import LONGEST_BODY, ROUTE, add_route, answer, stop, stoppable


def post(body: bytes | None = None) -> tuple[int, Any]:
    """Status and answer of the route, over HTTP."""

    async def ask() -> tuple[int, Any]:
        app = web.Application()
        app.router.add_post(ROUTE, answer)
        async with TestClient(TestServer(app)) as client:
            given = await client.post(ROUTE, data=body)
            text = await given.text()
            return given.status, json.loads(text) if given.status < 413 else text

    return asyncio.run(ask())


def test_a_training_is_stopped_by_its_node_and_others_go_on():
    with stoppable("12") as one, stoppable("7:12") as inside, stoppable("3") as other:
        assert not one() and not inside() and not other()
        assert post(b'{"node_id": "7:12"}') == (200, {"stopped": ["7:12"]})
        assert (one(), inside(), other()) == (False, True, False)
        assert post(b'{"node_id": "12"}') == (200, {"stopped": ["12"]})
        assert (one(), inside(), other()) == (True, True, False)


@pytest.mark.parametrize("body", [None, b"", b"{}", b'{"node_id": null}'])
def test_without_a_node_all_are_stopped(body: bytes | None):
    with stoppable("1") as one, stoppable("2") as two, stoppable(None) as script:
        assert post(body) == (200, {"stopped": ["1", "2", ""]})
        assert one() and two() and script()


def test_two_trainings_on_one_node_are_both_stopped_and_end_on_their_own():
    with stoppable("1") as first:
        with stoppable("1"):
            pass
        assert post(b'{"node_id": "1"}') == (200, {"stopped": ["1"]})
        assert first()
        with stoppable("1") as next_one:
            assert not next_one()
            assert stop("1") == ["1", "1"]
            assert next_one()


def test_nothing_that_trains_is_a_404_that_says_so():
    assert post() == (404, {"error": "No training is running in this ComfyUI."})
    with stoppable("1") as one:
        assert post(b'{"node_id": "2"}') == (404, {"error": "No training is running on node '2'."})
        assert not one()
    assert post(b'{"node_id": "1"}')[0] == 404


def test_a_training_that_failed_is_forgotten():
    with pytest.raises(KeyError):
        with stoppable("1"):
            raise KeyError
    assert stop() == []


@pytest.mark.parametrize(
    "body",
    [
        b"12",
        b'"12"',
        b"[]",
        b"{",
        b"\xff",
        b'{"node_id": 12}',
        b'{"node_id": ["12"]}',
        b'{"node": "12"}',
        b"[" * LONGEST_BODY,
    ],
)
def test_a_body_that_is_not_understood_stops_nothing(body: bytes):
    with stoppable("12") as one:
        status, said = post(body)
        assert status == 400
        assert said["error"].startswith('Send {"node_id": "12"}')
        assert not one()


def test_a_long_body_is_refused_before_it_is_read():
    with stoppable("12") as one:
        assert post(b'{"node_id": "12"}' + b" " * LONGEST_BODY)[0] == 413
        assert not one()


def test_trainings_may_come_and_go_while_others_are_stopped():
    wrong: list[str] = []

    def train(node_id: str) -> None:
        for _ in range(200):
            with stoppable(node_id) as stopped:
                if stop(node_id) != [node_id] or not stopped():
                    wrong.append(node_id)

    threads = [threading.Thread(target=train, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert stop() == []


def test_without_a_server_there_is_no_route_and_no_error():
    add_route()
