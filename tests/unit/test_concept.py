import pytest
import torch

from ti_core.concept import captions_for, centre_crop


@pytest.mark.parametrize("size", [(64, 64), (200, 100), (100, 200), (33, 70), (1000, 64)])
def test_crops_have_the_size_and_the_middle(size: tuple[int, int]):
    height, width = size
    ramp = torch.linspace(0, 1, width).expand(3, height, width).movedim(0, -1)
    crop = centre_crop(ramp, 64, 64)
    assert crop.shape == (64, 64, 3)
    assert crop.mean() == pytest.approx(0.5, abs=0.01)
    assert 0 <= crop.min() <= crop.max() <= 1


def test_captions_are_one_line_each_or_one_for_all():
    assert captions_for("a\n\n b \n", 2) == ("a", "b")
    assert captions_for("a {}", 3) == ("a {}",) * 3
    with pytest.raises(ValueError, match="2 captions for 3 pictures"):
        captions_for("a\nb", 3)
    with pytest.raises(ValueError, match="0 captions for 3 pictures"):
        captions_for("  \n", 3)
