"""Messages that come too fast are put off, and none is lost."""

from ti_core.host.page.throttle import Throttle


def test_of_calls_that_come_too_soon_one_is_made_later():
    made: list[int] = []
    throttle = Throttle(lambda: made.append(len(made)), 1000.0)
    for _ in range(5):
        throttle()
    assert made == [0]
    assert throttle.waiting is not None
    throttle.waiting.cancel()
    throttle.now()
    assert made == [0, 1]
    assert throttle.waiting is None


def test_without_an_interval_each_call_is_made():
    made: list[int] = []
    throttle = Throttle(lambda: made.append(len(made)), 0.0)
    for _ in range(3):
        throttle()
    assert made == [0, 1, 2]
