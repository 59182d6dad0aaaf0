"""What a run on the host's models depends on, as a key."""

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP

from ..concept.concept import Concept
from ..store.digest import digest_of
from ..training.settings import TrainingSettings
from ..word.embedding import Embedding
from .described import DEEPEST, Canonicalizer, described, plain, settings_of, weights_of
from .described import NotReproducible as NotReproducible
from .models.overlay import known_words
from .models.text import encoders
from .referenced import referenced_embeddings, texts_of

VAE_SETTINGS = (
    *("process_input", "process_output", "latent_channels", "latent_dim", "output_channels"),
    *("downscale_ratio", "crop_input", "pad_channel_value", "extra_1d_channel", "not_video"),
    *("format_encoded", "vae_dtype"),
)


def run_key(
    model: ModelPatcher,
    clip: CLIP,
    vae: Any,
    concept: Concept,
    embedding: Embedding,
    settings: TrainingSettings,
) -> str:
    """A digest of all that a run depends on, of its length only where the learning rates depend on
    that, so that a run may be made longer or shorter. The same in every process.
    """
    shown = [
        (one.crops, one.weights, one.caption, one.caption_settings, one.repeats, one.crop_origins)
        for one in concept.images
    ]
    chosen = (settings.method, settings.batch_size, settings.accumulation, settings.seed)
    schedule = settings.schedule
    rates = (schedule.pieces, schedule.shape, schedule.warmup, schedule.length)
    return digest_of(
        (shown, concept.latents),
        (embedding.placeholder, embedding.initializer, embedding.vectors, embedding.initial),
        (*chosen, settings.hold_out, *rates, settings.precision, settings.objective),
        (described(model), described_clip(clip), described_vae(vae)),
        referenced_embeddings(texts_of(concept), clip),
    )


def described_clip(clip: CLIP) -> object:
    """What a CLIP's conditioning depends on: weights, patches, the layer it stops at, and words
    that it knows already.
    """
    words = dict.fromkeys(encoders(clip), known_words(clip.tokenizer))
    return (described(clip.patcher), clip.layer_idx, plain(clip.tokenizer_options), plain(words))


def described_vae(vae: Any) -> object:
    """What latents depend on: weights and settings of the network, patches, methods that were set
    on the VAE, and how pixels are brought into its range.
    """
    network, patcher = vae.first_stage_model, getattr(vae, "patcher", None)
    own = {name: getattr(vae, name) for name in VAE_SETTINGS if hasattr(vae, name)}
    own |= {k: v for k, v in vars(vae).items() if callable(v) and hasattr(type(vae), k)}
    known = (
        (weights_of(network, {}), settings_of(network)) if patcher is None else described(patcher)
    )
    return (
        type(vae).__qualname__,
        known,
        Canonicalizer({"": vae, **dict(network.named_modules())}).of(own, DEEPEST),
    )
