"""Names files that were mistaken for an embedding: a page or a pointer instead of a download,
another kind of file, another part of a model.
"""

import re
from collections.abc import Iterable

from ...quoted import quoted
from .contents import FileBytes

LOOKED_AT = 4096
SHOWN = 60
LFS = b"version https://git-lfs.github.com/spec"
LFS_SIZE = re.compile(rb"\nsize (\d+)")
UNPACK = "Unpack it, and choose a file in it"
# How other files begin, and what to do with them.
BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (
        b"\xff\xd8\xff",
        "a JPEG image, which cannot hold an embedding. Get the PNG or the embedding",
    ),
    (b"GIF8", "a GIF image. Get the embedding itself"),
    (b"BM", "a BMP image. Get the embedding itself"),
    (b"II*\0", "a TIFF image. Get the embedding itself"),
    (b"MM\0*", "a TIFF image. Get the embedding itself"),
    (b"RIFF", "a sound or video file (RIFF). Get the embedding itself"),
    (b"\xff\x0a", "a JPEG XL image. Get the PNG or the embedding"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image. Get the PNG or the embedding"),
    (b"L\0\0\0\x01\x14\x02\0", "a Windows shortcut. Copy the file that it points to"),
    (b"book\0\0\0\0mark", "a macOS alias. Copy the file that it points to"),
    (b"\0\x05\x16\x07", "a file that macOS adds to another. Choose the one without '._'"),
    (b"[InternetShortcut]", "a shortcut to a web page. Download the file from there"),
    (b"Rar!", f"a RAR archive. {UNPACK}"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7z archive. {UNPACK}"),
    (b"\x1f\x8b", f"a gzip archive. {UNPACK}"),
    (b"BZh", f"a bzip2 archive. {UNPACK}"),
    (b"\xfd7zXZ", f"an xz archive. {UNPACK}"),
    (b"\x28\xb5\x2f\xfd", f"a Zstandard archive. {UNPACK}"),
    (b"PK\5\6", "an empty zip archive. Download it again"),
    (b"GGUF", "a whole model (GGUF). It belongs in models/diffusion_models or text_encoders"),
    (b"\x93NUMPY", "a NumPy array, which names no text encoder"),
    (b"%PDF", "a PDF document. Get the embedding itself"),
    (b"MZ", "a Windows program. Delete it, unless you know it"),
    (b"\x7fELF", "a Linux program. Delete it, unless you know it"),
)
TAR_AT, TAR = 257, b"ustar"
PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(6))
PAGE = re.compile(
    rb"<!--|<(?:!doctype html|html|head|body|script|title|meta|a|p|h\d|div|center|\?xml|svg)\b",
    re.IGNORECASE,
)
PART = re.compile(r"[^.:][.:][^.:]")  # Names of a model's tensors are paths.
LORA = r"lora_|\blora\.|\.lora|lokr_|hada_|\boft_|\bdora_|:(?:up|down)$"
CHECKPOINT = (
    r"^(?:model\.diffusion_model|cond_stage_model|conditioner\.embedders|first_stage_model)"
)
# By what names of tensors a part of a model is known, and where it belongs.
MODELS: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern), what, folder)
    for pattern, what, folder in (
        (LORA, "a LoRA without an embedding in it", "models/loras"),
        (CHECKPOINT, "a checkpoint, a whole model", "models/checkpoints"),
        (
            r"^(?:control_model|controlnet|controlnet_\w+|input_hint_block)\.",
            "a ControlNet",
            "models/controlnet",
        ),
        (r"^(?:image_proj|ip_adapter)\b", "an IP-Adapter", "models/ipadapter"),
        (
            r"^(?:text_model|text_model_\w+|shared|encoder\.block)\.|\bembed_tokens\.",
            "a text encoder",
            "models/text_encoders",
        ),
        (r"^(?:decoder|encoder|vae|first_stage)\.", "a VAE", "models/vae"),
        (r"^(?:vision_model|visual)\.", "a CLIP vision model", "models/clip_vision"),
        (
            r"^(?:double_blocks|single_blocks|joint_blocks|transformer_blocks|blocks|layers|down_blocks|up_blocks|input_blocks|output_blocks|mid_block|diffusion_model|unet|transformer)\b",
            "a diffusion model",
            "models/diffusion_models",
        ),
    )
)


class Mistaken(ValueError):
    """A file that is not an embedding; the message itself says what to do."""


def said_of(file: FileBytes) -> str:
    """What a file is that does not begin like an embedding, and what to do."""
    start = file.at(0, min(file.length, LOOKED_AT))
    if not start.strip(b"\0"):
        many = f"{file.length} bytes of zeros" if start else "empty (0 bytes)"
        return f"it is {many}: its download was interrupted. Download it again"
    known = next((what for magic, what in BEGINNINGS if start.startswith(magic)), "")
    if known:
        return f"it is {known}"
    if start[TAR_AT:].startswith(TAR):
        return f"it is a tar archive. {UNPACK}"
    if start.startswith(PICKLES):
        return "it is a pickle, but not one that torch wrote"
    text = text_of(start)
    if text is not None:
        return said_of_text(text, start)
    return "it is not a safetensors file, not a torch.save file, and not a PNG, WebP or AVIF image"


def said_of_text(text: str, start: bytes) -> str:
    """What a text is that was saved instead of a file."""
    plain = text.lstrip("\ufeff \t\r\n")
    if plain.encode().startswith(LFS):
        size = LFS_SIZE.search(start)
        of = f" of {int(size[1])} bytes" if size and len(size[1]) < 16 else ""
        return (
            f"it is a git-lfs pointer to a file{of}, not the file itself. Run 'git lfs pull' in "
            f"its clone, or download the file from its repository's page"
        )
    begins = f"It begins with {quoted(' '.join(plain.split())[:SHOWN])}"
    if PAGE.match(plain.encode()):
        return (
            f"it is a web page, such as a site sends instead of a file when you are not logged "
            f"in, or after an error. Log in, and download the file itself. {begins}"
        )
    if plain.startswith(("{", "[")):
        return (
            f"it is JSON text, such as settings, or a site's answer instead of the file. Download "
            f"the file itself. {begins}"
        )
    return f"it is a text file. {begins}. Get the embedding itself"


def text_of(start: bytes) -> str | None:
    """The beginning of a file as text, None if it is not text."""
    for encoding in (
        ("utf-8", "utf-16") if start.startswith((b"\xff\xfe", b"\xfe\xff")) else ("utf-8",)
    ):
        text = start[: len(start) // 2 * 2].decode(encoding, "ignore")
        cut = len(text.encode(encoding, "ignore")) >= len(start) - 8
        if cut and all(one.isprintable() or one in "\ufeff\t\r\n\f" for one in text):
            return text
    return None


def said_of_tensors(names: Iterable[str]) -> str:
    """What a file with these tensors is, if it is not an embedding."""
    every = list(names)
    for pattern, what, folder in MODELS:
        if any(pattern.search(name) for name in every):
            return f"it is {what}. It belongs in {folder}"
    return (
        f"its tensors belong to a model, or to a LoRA without a bundled embedding (the first is "
        f"'{every[0][:60]}'). Choose another file"
    )


def is_part_of_model(names: Iterable[str]) -> bool:
    """Whether tensors are named as parts of a known kind of model are, which no words are."""
    every = list(names)
    return all(PART.search(name) for name in every) and any(
        pattern.search(name) for pattern, _, _ in MODELS for name in every
    )


def said_of_archive(names: list[str]) -> str:
    """What an archive is that torch did not write."""
    listed = quoted(", ".join(names[:3]))[1:-1]
    return f"it is a zip archive with {len(names)} files in it ({listed}). {UNPACK}"
