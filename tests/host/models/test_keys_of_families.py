"""A run is known again after its models were used, in every family that ComfyUI has."""

import comfy.model_management
import pytest
from small import concept, settings, word
from small_families import ALL_FAMILIES, FAMILIES, RELATIVES, made_vae, small_model, small_text
from test_gradients import batch
from test_small_families import marked, sampled_x0

from ti_core.host.models.borrow import BorrowSettings, borrowed
from ti_core.host.run_key import run_key
from ti_core.training.loop import gradient
from ti_core.training.optimizers import leaf


@pytest.mark.parametrize("name", marked([*FAMILIES, *RELATIVES]))
def test_the_key_of_each_family_is_the_same_after_training_and_sampling(name: str):
    model, clip, vae = small_model(name), small_text(name), made_vae(name)
    made = word(clip)

    def key() -> str:
        return run_key(model, clip, vae, concept(), made, settings(4))

    first = key()
    with borrowed(model, clip, made, (4, 8, 8), BorrowSettings(2)) as frozen:
        drawn = batch(frozen, ALL_FAMILIES[name].channels)
        sigma = frozen.sigmas[drawn.positions]
        live = {encoder: leaf(rows) for encoder, rows in made.vectors.items()}
        gradient(frozen, live, [drawn], 1.0)
        (heard, *_) = frozen.encode(["a photo of my-cat"], made.vectors)
    trained = key()
    sampled_x0(model, heard, drawn.latents[:1], drawn.noise[:1], sigma[0])
    sampled = key()
    comfy.model_management.unload_all_models()
    assert [trained, sampled, key()] == [first] * 3
