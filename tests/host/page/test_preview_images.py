"""What of the previews needs no model: the prompt, the label, and how many are kept."""

import pytest
import torch

from ti_core.host.page.preview_images import MOST, PreviewSettings, kept, labeled


@pytest.mark.parametrize(
    ("prompt", "written"),
    [
        ("a photo of {}", "a photo of my-cat"),
        ("[name] in the rain", "my-cat in the rain"),
        ("a MY-CAT, (my-cat:1.2)", "a MY-CAT, (my-cat:1.2)"),
        ("embedding:my-cat", "embedding:my-cat"),
    ],
)
def test_the_prompt_says_the_word(prompt: str, written: str):
    assert PreviewSettings(prompt=prompt).text("my-cat") == written


@pytest.mark.parametrize("prompt", ["", "a cat", "my-cats", "my-cat-2", "embedding:pets/my-cat"])
def test_a_prompt_without_the_word_names_both_and_the_remedy(prompt: str):
    with pytest.raises(ValueError) as error:
        PreviewSettings(prompt=prompt).text("my-cat")
    assert repr(prompt) in str(error.value)
    assert "Write {} or my-cat into it" in str(error.value)


def test_a_label_covers_its_corner_and_leaves_the_rest():
    image = torch.rand(256, 320, 3, generator=torch.Generator().manual_seed(1))
    before = image.clone()
    one, other = labeled(image, "step 50"), labeled(image, "step 100")
    assert image.equal(before)
    assert one[:200].equal(image[:200])
    assert one[:, 160:].equal(image[:, 160:])
    assert not one.equal(other)
    corner = one[-20:, :40]
    assert float(corner.min()) < 0.2 and float(corner.max()) > 0.9  # Light letters on dark.
    assert 0 <= float(one.min()) and float(one.max()) <= 1


@pytest.mark.parametrize("size", [(8, 8), (64, 16), (4, 640), (1, 1)])
def test_a_label_on_a_tiny_image_is_cut(size: tuple[int, int]):
    assert labeled(torch.zeros(*size, 3), "step 100000").shape == (*size, 3)


def test_the_first_and_the_last_image_are_always_kept():
    steps: list[int] = []
    for step in range(0, 50_000, 50):
        steps = kept([*steps, step])
        assert len(steps) <= MOST
        assert steps == sorted(set(steps))
        assert (steps[0], steps[-1]) == (0, step)
    assert kept(range(MOST)) == list(range(MOST))
