"""The curves of a run in few points."""

from torch import tensor

from ti_core.host.page.curves import downsampled, downsampled_means, gained, rounded, shares
from ti_core.training.run import RunState
from ti_core.training.stopping import Validation


def test_a_series_becomes_the_means_of_its_stretches():
    assert downsampled_means([1, 3, 5, 7, 9], 3) == [[2, 2], [4, 6], [5, 9]]
    assert downsampled_means([1, 3], 3) == [[1, 1], [2, 3]]
    assert downsampled_means([], 3) == []
    long = downsampled_means([0.1] * 99_999, 250)
    assert len(long) <= 250
    assert long[-1] == [99_999, 0.1]


def test_of_many_validations_some_stay_evenly_and_the_last():
    many = [Validation(step, 0.0) for step in range(1001)]
    some = downsampled(many, 250)
    assert len(some) <= 250
    assert some[-1] == many[-1]
    assert len({later.step - one.step for one, later in zip(some, some[1:], strict=False)}) == 1
    assert downsampled(many[:3], 250) == many[:3]


def test_shares_are_per_cent_of_the_initializers_loss():
    state = RunState({}, {}, {}, 1.0)
    state.validate(tensor([4.0, 4.0]))
    assert gained(state, 3.0) == 25.0
    state.initializer_loss = 2.0  # A word that was trained before starts below it.
    assert shares(state, [Validation(0, 1.5), Validation(5, 1.0)], 9) == [[0, 25], [5, 50]]


def test_numbers_are_short():
    assert rounded(1 / 3) == 0.33333
    assert rounded(123456.7) == 123460
