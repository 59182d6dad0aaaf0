"""The frozen model reads what images show."""

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import pytest
import torch
from torch import Tensor
from toy import ToyModel

from ti_core.concept.fragments import Fragments, built_in_looks, fragments_in
from ti_core.training import image_reader
from ti_core.training.batches import NotFinite
from ti_core.training.image_reader import Reader, ReadingSettings, Shown

FRAGMENTS = Fragments(
    "a photo of [size] {} [background] [position]",
    {
        "background": ("on grass", "on sand", "at night", "in snow"),
        "position": ("on the left", "on the right"),
        "size": ("small", "large"),
    },
)
SHOWN = [one for some in FRAGMENTS.slots.values() for one in some]


class Describing(ToyModel):
    """Predicts the image whose channels are the fragments that the caption has."""

    def encode(self, captions: Sequence[str], vectors: Mapping[str, Tensor]) -> list[Tensor]:
        self.seen += captions
        return [torch.tensor([float(one in text) for one in SHOWN]) for text in captions]

    def denoise(
        self, noisy: Tensor, sigma: Tensor, conditioning: Sequence[Tensor], crop_origins: Any = ()
    ) -> Tensor:
        return torch.stack(list(conditioning))[:, :, None, None].expand_as(noisy)


def image(*shown: str) -> Tensor:
    """Latents `[c, 4, 4]` of an image that shows some of the fragments."""
    return torch.tensor([float(one in shown) for one in SHOWN])[:, None, None].expand(-1, 4, 4)


def reader(model: ToyModel | None = None, **settings: int) -> Reader:
    return Reader(model or Describing(), "my-cat", {}, FRAGMENTS, ReadingSettings(**settings))


def shown(*fragments: str, number: int = 0) -> list[Shown]:
    """One image, as a reader sees it."""
    return [Shown(number, image(*fragments))]


@pytest.mark.parametrize("background", FRAGMENTS.slots["background"])
@pytest.mark.parametrize("size", FRAGMENTS.slots["size"])
def test_each_slot_gets_what_the_image_shows(background: str, size: str):
    found = reader().read(shown(background, "on the left", size))
    assert found.fragments == {"background": background, "position": "on the left", "size": size}
    assert found.caption == f"a photo of {size} {{}} {background} on the left"


def test_what_is_not_among_the_candidates_is_left_out():
    found = reader().read(shown("on the right"))
    assert found.fragments == {"background": "", "position": "on the right", "size": ""}
    assert found.caption == "a photo of {} on the right"


def test_the_model_sees_the_word_and_each_caption_is_encoded_once():
    one = reader()
    one.read(shown("on sand"))
    seen = one.model.seen  # type: ignore[attr-defined]
    assert all("my-cat" in text and "{}" not in text for text in seen)
    assert len(seen) == len(set(seen))


def test_the_same_seed_and_number_read_the_same():
    one = shown("at night", "small", number=5)
    assert reader(seed=3).read(one) == reader(seed=3).read(one)


def test_a_loss_that_is_no_number_is_an_error():
    class Overflowing(Describing):
        def denoise(
            self,
            noisy: Tensor,
            sigma: Tensor,
            conditioning: Sequence[Tensor],
            crop_origins: Any = (),
        ) -> Tensor:
            return torch.full_like(noisy, torch.nan)

    with pytest.raises(NotFinite, match="dtype 'bf16'"):
        reader(Overflowing()).read(shown("on sand"))


class Indifferent(ToyModel):
    """Its prediction depends on the caption, but not on what the image shows."""

    def encode(self, captions: Sequence[str], vectors: Mapping[str, Tensor]) -> list[Tensor]:
        draws = [torch.Generator().manual_seed(crc32(one.encode())) for one in captions]
        return [torch.randn(8, 4, 4, generator=one) for one in draws]

    def denoise(
        self, noisy: Tensor, sigma: Tensor, conditioning: Sequence[Tensor], crop_origins: Any = ()
    ) -> Tensor:
        return noisy / 2 + torch.stack(list(conditioning)) * 0.05


def test_fragments_that_win_by_chance_are_left_out():
    kept = 0
    for number in range(20):
        noisy = torch.randn(8, 4, 4, generator=torch.Generator().manual_seed(number))
        found = reader(Indifferent()).read([Shown(number, noisy)])
        kept += sum(map(bool, found.fragments.values()))
    assert kept <= 20 * len(FRAGMENTS.slots) // 4


def test_the_gain_is_the_share_of_the_loss_that_the_caption_takes_away():
    assert reader().read(shown("on sand", "small")).gain == pytest.approx(1)
    assert reader().read(shown()).gain == 0


def test_each_pass_can_be_interrupted():
    def interrupt() -> None:
        raise KeyboardInterrupt

    stopped = Reader(Describing(), "my-cat", {}, FRAGMENTS, ReadingSettings(), interrupt)
    with pytest.raises(KeyboardInterrupt):
        stopped.read(shown("on sand"))


def test_of_several_images_what_all_show_is_found():
    images = [
        Shown(0, image("on grass", "small")),
        Shown(1, image("on sand", "small")),
        Shown(2, image("at night", "small")),
    ]
    found = reader().read(images)
    assert found.fragments == {"background": "", "position": "", "size": "small"}


def test_what_the_captions_say_is_not_found_again():
    said = [Shown(0, image("on grass", "small"), "{} small"), Shown(1, image("small"), "{} small")]
    assert reader().read(said).fragments["size"] == ""


def test_conditioning_of_the_last_texts_alone_is_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(image_reader, "ENCODED", 3)
    one = reader()
    assert one.read(shown("on sand")) == reader().read(shown("on sand"))
    assert len(one.encoded) == 3


def test_the_built_in_looks_are_some_two_hundred():
    looks = fragments_in(built_in_looks())
    assert 150 <= sum(map(len, looks.slots.values())) <= 250
    assert looks.caption({"color": "red", "material": "wooden"}, "cat") == "red wooden cat"
