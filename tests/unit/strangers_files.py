"""Files that a stranger made to freeze, fill or fool: each is small, and looks like an embedding.

They are built of the parts of `hostile_files.py`, which lists them with all others.
"""

import io
import json
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from hostile_files import (
    STORAGE,
    Calls,
    archive,
    b64,
    good_files,
    header,
    png,
    sized,
    tensor_json,
    torch_pickle,
)
from PIL import Image
from torch._utils import _rebuild_tensor_v2

Build = Callable[[], bytes]
Strange = Iterator[tuple[str, Build, str]]
PLACE = {"dtype": "F32", "shape": [1, 768], "data_offsets": [0, 3072]}
MEGAPIXEL = 1 << 20


def strangers() -> Strange:
    """Name, builder, and what must stand in what reading comes to (a regular expression)."""
    yield from frozen_pickles()
    yield from claimed_values()
    yield from foreign_exceptions()
    yield from large_images()
    yield from many_parts()
    yield from texts()
    yield from changed_values()
    yield from mistaken()


def tensor(size: Any = (1, 768), stride: Any = (768, 1)) -> Calls:
    """A tensor as torch pickles it."""
    return Calls(_rebuild_tensor_v2, STORAGE, 0, size, stride, False, {})


def zipped(data: Any) -> bytes:
    """An archive with this object and 768 values."""
    return archive(torch_pickle(data))


def named(name: Any, **more: Any) -> dict[str, Any]:
    """AUTOMATIC1111's dict."""
    return {"string_to_token": {"*": 265}, "string_to_param": {"*": tensor()}, "name": name, **more}


def doubled(depth: int) -> Any:
    """A list that holds itself, twice in a tuple, and that again twice: it never ends as text."""
    made: Any = []
    made.append(made)
    for _ in range(depth):
        made = (made, made)
    return made


def repeated(prepare: bytes, again: bytes, times: int) -> bytes:
    """A pickle that does something over and over."""
    return archive(b"\x80\x02" + prepare + again * times + b".")


def letters(text: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text


def memo(number: int) -> bytes:
    return b"r" + struct.pack("<I", number)


def frozen_pickles() -> Strange:
    """Pickles that take for ever, or all of the memory."""
    deep = b"".join((b")" + b"\x85" * 50_000, b"q\x09"))
    yield "name-holds-itself.pt", lambda: zipped(named(doubled(60))), "read"
    entry = b"}" + letters(b"name") + deep + b"s"
    yield "nested-name.pt", lambda: repeated(entry, b"", 0), "no vectors in the layout"
    size = b"ctorch\nSize\nq\0" + letters(b"7" * (1 << 20)) + b"q\1"
    yield "size-of-text.pt", lambda: repeated(size, b"h\0h\1\x85R", 20_000), "shape"
    entries = b"".join(letters(b"%d" % n) + b"K\1" for n in range(40_000))
    state = b"}(" + entries + b"uq\0}" + letters(b"_parameters") + b"h\0sq\1"
    ordered = b"ccollections\nOrderedDict\n)R"
    yield "build-again.pt", lambda: repeated(state + ordered, b"h\1b", 35_000), "entries"
    axes = b"(" + b"K\1" * 50_000 + b"tq\0"
    yield (
        "long-shape.pt",
        lambda: repeated(axes + b"ctorch\nSize\nq\1", b"h\1h\0\x85R", 60_000),
        "shape",
    )
    rebuild = b"ctorch._utils\n_rebuild_parameter\nq\1"
    yield "arguments.pt", lambda: repeated(axes + rebuild, b"h\1h\0R", 60_000), "16 arguments"
    keys = b"}(" + b"".join(
        b"\x8a\x0d" + (n * (2**61 - 1)).to_bytes(13, "little") + b"N" for n in range(40_000)
    )
    yield "keys-of-one-hash.pt", lambda: archive(b"\x80\x02" + keys + b"u."), "other keys"
    memos = b"".join(memo(n << 17) for n in range(1 << 15))
    yield "memo-of-one-slot.pt", lambda: archive(b"\x80\x02N" + memos + b"."), "cannot"
    yield "instructions.pt", lambda: repeated(b"N", b"q\1", 900_000), "more parts"


def claimed_values() -> Strange:
    """Tensors that claim more values than are stored."""
    wide = tensor((2730, 768), (0, 1))
    many = [tensor((2730, 768), (0, 1)) for _ in range(64)]
    yield "strided.pt", lambda: zipped({"emb_params": wide}), "one behind the other"
    yield (
        "overlapping.pt",
        lambda: zipped({"emb_params": tensor((2000, 768), (1, 1))}),
        "behind the",
    )
    words = {f"w{n}": one for n, one in enumerate(many)}
    yield "strided-words.pt", lambda: zipped(words), "Choose what to load.*behind the other"
    yield "strided-list.pt", lambda: zipped([words, {"w": wide}]), "list"
    yield "short-strided-list.pt", lambda: zipped([{"w": wide}] * 2), "one behind the other"
    encoders = {f"clip_l_{n}": tensor((2730, 768), (0, 1)) for n in range(1000)}
    yield "thousand-encoders.pt", lambda: zipped(encoders), "1000 tensors"
    yield "repeated-values.pt", lambda: zipped([{"w": tensor()}] * 60_000), "list"
    stored = archive(torch_pickle({f"clip_l{n}": tensor((2000, 768)) for n in range(8)}))
    yield "claims.pt", lambda: stored, "beyond the values"


def foreign_exceptions() -> Strange:
    """What libraries and the language throw."""
    first = [pickle.dumps(item, 2) for item in (0x1950A86A20F9469CFC6C, 1001, {})]
    unlisted = b"".join(first) + torch_pickle({"emb_params": tensor()}) + pickle.dumps([], 2)
    yield "unlisted-storage.pt", lambda: unlisted, "values of a tensor are missing"
    bare = Calls(_rebuild_tensor_v2, "none", 0, (1, 768), (768, 1), False, {})
    yield "no-storage.pt", lambda: zipped({"emb_params": bare}), "describes a tensor wrongly"
    sizes = {"F4": 6144, "F6_E2M3": 4096, "F6_E3M2": 4096, "F8_E8M0": 3072, "F8_E4M3": 3072}
    for kind, size in {**sizes, "C64": 384, "Float4": 768}.items():
        entry = {"dtype": kind, "shape": [1, size], "data_offsets": [0, 3072]}
        yield f"{kind}.safetensors", lambda e=entry: header({"emb_params": e}), "of the type"
    yield "profile-behind.png", profile_behind_the_pixels, "without an embedding"
    long = {f"{n:02d}" + "n" * 60_000: tensor() for n in range(30)}
    yield "long-names.pt", lambda: zipped(long), r"Choose what to load"
    yield "long-names.safetensors", lambda: header({"clip_l" + "n" * 60_000: PLACE}), "encoders"
    half = "\ud800" * 300
    yield "half-names.safetensors", lambda: header({half: PLACE}), "read"


def profile_behind_the_pixels() -> bytes:
    """A PNG whose color profile comes too late."""
    whole = png(Image.effect_noise((64, 64), 60).convert("RGB"))
    body = b"a\0\0" + zlib.compress(b"profile")
    chunk = b"iCCP" + body
    profile = struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return whole[:-12] + profile + whole[-12:]


def large_images() -> Strange:
    """Images near and above the limit, with two dark columns like an embedding's."""
    yield "largest-permitted.png", lambda: columns(1536, 2048), "panels"
    yield "two-dark-columns.png", lambda: columns(2048, 4096), "too large"
    small = Image.effect_noise((64, 64), 60).convert("RGB")
    bombs = [(b"zTXt", b"k%d\0\0" % n + zlib.compress(b"\0" * MEGAPIXEL)) for n in range(99)]
    yield "text-bombs.png", lambda: with_chunks(png(small), bombs), "without an embedding"
    bomb = [(b"zTXt", b"sd-ti-embedding\0\0" + zlib.compress(b"[" * (64 << 20)))]
    yield "embedding-bomb.png", lambda: with_chunks(png(small), bomb), "cannot"
    yield "chunks.png", lambda: with_chunks(png(small), [(b"tEXt", b"")] * 300_000), "more parts"
    long = [(b"tEXt", b"modelspec.%d\0" % n + b"x" * MEGAPIXEL) for n in range(15)]
    yield "long-texts.png", lambda: with_chunks(png(small), long), "more letters"


def columns(width: int, height: int) -> bytes:
    """Noise between two dark columns that seem to divide panels from an image."""
    pixels = np.random.default_rng(1).integers(16, 256, (height, width, 3), np.uint8) | 1
    pixels[:, [width // 2 - 2, width // 2 + 1]] &= 0xF0
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    start = png(Image.new("RGB", (1, 1)))[:8]
    fields = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", fields), (b"IDAT", zlib.compress(rows.tobytes(), 0)), (b"IEND", b"")]
    return start + b"".join(chunk(*part) for part in parts)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(image: bytes, more: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG with chunks before its pixels."""
    at = image.index(b"IDAT") - 4
    return image[:at] + b"".join(chunk(*one) for one in more) + image[at:]


def many_parts() -> Strange:
    """Descriptions that are nothing but parts."""
    keys = b'"__metadata__":{' + b",".join(b'"%x":""' % n for n in range(300_000)) + b"}"
    yield "keys.safetensors", lambda: sized(b"{" + keys + b"}"), "more parts"
    yield "lists.safetensors", lambda: sized(b'{"a":[' + b"[]," * 1_000_000 + b"[]]}"), "more parts"
    yield "numbers.safetensors", lambda: sized(b'{"a":[' + b"1.5," * 1_000_000 + b"1]}"), "entries"
    wide = "\U0001f600".encode() * (1 << 20)
    yield "wide.safetensors", lambda: sized(b'{"a":"' + wide[:-16] + b'"}'), "header is damaged"
    text = b"[[" + b"1.5," * 390_000 + b"1]]"
    yield "numbers.png", lambda: png(Image.new("RGB", (9, 9)), b64(tensor_json(text))), "wide"
    yield "directory.pt", lambda: directory(200_000), "more parts"


def directory(count: int) -> bytes:
    """An archive that lists many names."""
    entry = struct.Struct("<4s6H3L5H2L")
    listed = b"".join(
        entry.pack(b"PK\1\2", 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0)
        + b"%04x" % (n % 65536)
        for n in range(count)
    )
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, len(listed), 4, 0)
    return b"PK\3\4" + listed + end


def texts() -> Strange:
    """What a file says of itself, which goes into prompts, images and other files."""
    for name, initializer, expected in (
        ("long", "cat " * 1_000_000, r"init word '(cat ){49}cat"),
        ("names-another", "a embedding:private cat", "init word 'a private cat'"),
        ("names-another-twice", "embeddembedding:ing:private", "init word 'private'"),
        ("weighs", "(cat:1e9)", r"init word '\\\(cat:1e9\\\)'"),
        ("breaks-prompts", "embedding:", "init word 'says breaks prompts'"),
        ("half", "cat \ud800 toy", "init word 'cat toy'"),
        ("escapes", "cat \\\\", "init word 'cat'"),
        ("no-text", {"a": 1}, "init word 'says no text'"),
    ):
        yield f"says-{name}.safetensors", lambda i=initializer: told(initializer=i), expected
    yield "half-base.safetensors", lambda: told(base_model="a\ud800b"), "base_model: a b"
    yield "lines-base.safetensors", lambda: told(base_model="a\nb\tc"), "base_model: a b c"
    yield "half-keys.safetensors", lambda: told(**{"\ud800": "\ud800", "x\n": 1}), "x: 1"
    yield "spec.safetensors", lambda: told(modelspec={"title": "\ud800"}), "read"
    yield "infinite-steps.safetensors", lambda: told(steps=1e999, seed=7), "Left out.*steps"
    yield "huge-step.pt", lambda: zipped(named("a", step=1 << 2000)), "Left out.*steps"
    yield "huger-step.pt", lambda: zipped(named("a", step=1 << 20_000)), "LONG4"
    entry = b'{"string_to_param": {"*": {"TORCHTENSOR": [' + b"0.1," * 767 + b"1]}}, "
    steps = entry + b'"step": 1' + b"0" * 4000 + b"}"
    yield "huge-step.png", lambda: png(Image.new("RGB", (9, 9)), b64(steps)), "Left out.*steps"
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    yield "deep-recipe.safetensors", lambda: told(losses=deep), "Left out.*losses"
    spec = {"modelspec.author": "a\ud800\0b", "modelspec.thumbnail": "data:image/x," + "x" * 2**20}
    yield "author.safetensors", lambda: header({"__metadata__": spec, "emb_params": PLACE}), "a b"


def told(**recipe: Any) -> bytes:
    """A good file with a recipe."""
    metadata = {"textual_inversion": json.dumps(recipe)}
    return header({"__metadata__": metadata, "emb_params": PLACE}, values())


def values(count: int = 1) -> bytes:
    rows = 0.02 * torch.randn(count, 768, generator=torch.Generator().manual_seed(1))
    return rows.numpy().tobytes()


def changed_values() -> Strange:
    """Values that cannot be what was written."""
    draws = random.Random(3)
    for kind, expected in {"safetensors": "hash", "pt": "checksum"}.items():
        good = good_files()[kind]
        at = good.index(embedding_bytes()) + draws.randrange(3000)
        flipped = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
        yield (
            f"flipped.{kind}",
            lambda f=flipped: f,
            f"has changed since it was written.*{expected}",
        )
    text = good_files()["png"].replace(b"eyJzdHJpbmdf", b"eyJzdHJpbmdG", 1)
    yield "flipped.png", lambda: text, "has changed since.*checksum"
    one = {"emb_params": PLACE}
    yield (
        "zero.safetensors",
        lambda: header(one, b"\0" * 3072),
        "1 of the 1 clip_l vectors are zero",
    )
    long = np.full(768, 3e37, np.float32).tobytes()
    yield "long.safetensors", lambda: header(one, long), "vectors are longer than 1000"
    many = {"dtype": "F32", "shape": [2700, 768], "data_offsets": [0, 2700 * 3072]}
    yield "2700.safetensors", lambda: header({"emb_params": many}, values(2700)), "and 2636 more"


def embedding_bytes() -> bytes:
    """The first values of the good files."""
    from sample_embeddings import embedding

    return embedding(clip_l=768).vectors["clip_l"].numpy().tobytes()[:64]


def mistaken() -> Strange:
    """What people have in place of an embedding, and take for one."""
    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 3177\n" % (b"ab" * 32)
    yield "pointer.safetensors", lambda: lfs, "a git-lfs pointer to a file of 3177 bytes"
    yield "pointer.pt", lambda: b"\xef\xbb\xbf" + lfs.replace(b"\n", b"\r\n"), "git-lfs pointer"
    yield from texts_in_place_of_a_file()
    for name, start, expected in OTHER_KINDS:
        yield name, lambda made=start: made + b"\x9c\0\xff" * 999, expected
    yield from unfinished()
    yield from parts_of_models()


def texts_in_place_of_a_file() -> Strange:
    """What a site sends, or an editor has written."""
    page = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>...</body></html>"
    for name, text, expected in (
        ("login.safetensors", page, "a web page.*you are not logged in.*Log in, and download"),
        ("page.pt", b"\n\n  <HTML lang='de'>" + b"x" * 9000, "a web page"),
        (
            "denied.bin",
            b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
            "web page",
        ),
        ("page.png", page, "a web page"),
        ("answer.safetensors", b'{"error":"Unauthorized"}', "JSON.*site's answer.*Unauthorized"),
        ("padded.safetensors", b'        {"error": 1}', "JSON text"),
        ("list.pt", b'[{"steps": 5}]', "JSON text"),
        (
            "words.PT",
            "\u6211\u7684\u98ce\u683c, my style".encode(),
            "a text file. It begins with '\u6211",
        ),
        ("words.pt", "my style".encode("utf-16"), "a text file. It begins with 'my style'"),
        ("hidden-words.bin", b"Repository not found", "a text file.*Repository not found"),
    ):
        yield name, lambda made=text: made, expected


OTHER_KINDS = (
    ("jpeg.png", b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG image, which cannot hold"),
    ("jpeg.pt", b"\xff\xd8\xff\xe1\0\x10Exif", "a JPEG image"),
    ("moving.webp", b"GIF89a", "a GIF image"),
    ("sound.webp", b"RIFF\0\0\0\0WAVEfmt ", "a sound or video file"),
    ("link.pt", b"L\0\0\0\x01\x14\2\0\0\0", "a Windows shortcut. Copy the file that"),
    ("site.pt", b"[InternetShortcut]\r\nURL=https://", "a shortcut to a web page"),
    ("alias.pt", b"book\0\0\0\0mark", "a macOS alias"),
    ("beside.safetensors", b"\0\x05\x16\x07\0\2", "a file that macOS adds to another"),
    ("packed.pt", b"7z\xbc\xaf\x27\x1c", "a 7z archive. Unpack it"),
    ("rolled.bin", b"my-cat.pt".ljust(257, b"\0") + b"ustar", "a tar archive. Unpack it"),
    ("quantized.safetensors", b"GGUF\3\0\0\0", r"a whole model \(GGUF\)"),
    ("array.bin", b"\x93NUMPY\1\0", "a NumPy array"),
    ("pickle.pt", b"\x80\4\x95", "a pickle, but not one that torch wrote"),
    ("zeros.safetensors", b"\0" * 9000, "."),
)


def unfinished() -> Strange:
    """Files that are there in part, and packed ones."""
    for ending in ("safetensors", "pt", "png", "PTI"):
        yield (
            f"nothing.{ending}",
            lambda: b"",
            "it is empty .0 bytes.: its download was interrupted",
        )
    yield "zeros-only.pt", lambda: b"\0" * 5000, "5000 bytes of zeros: its download was interrupted"
    whole = header({"emb_params": PLACE}, values())
    yield "short.safetensors", lambda: whole[:-100], "it is cut off: 100 of the 3072 bytes of its"
    yield "header-only.safetensors", lambda: whole[:30], "damaged or cut off"
    for name, packing in (("stored.pt", zipfile.ZIP_STORED), ("packed.bin", zipfile.ZIP_DEFLATED)):
        made = zip_of({"my-cat.safetensors": whole, "read me.txt": b"x" * 999}, packing)
        yield f"zip-{name}", lambda made=made: made, "a zip archive with 2 files in it .my-cat.safe"
    yield "empty-zip.pt", lambda: zip_of({}, zipfile.ZIP_STORED), "an empty zip archive"


def zip_of(files: dict[str, bytes], packing: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", packing) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return made.getvalue()


def parts_of_models() -> Strange:
    """Safetensors files and files of torch that hold something else of a model."""
    for name, tensors, expected in (
        ("checkpoint", ("model.diffusion_model.a.weight", "cond_stage_model.b"), "a checkpoint, a"),
        ("lora", ("lora_unet_a.lora_down.weight", "lora_unet_a.alpha"), "a LoRA without.*loras"),
        ("peft", ("transformer.a.lora_A.weight", "transformer.a.lora_B.weight"), "a LoRA"),
        ("pairs", ("unet:0:up", "unet:0:down"), "a LoRA"),
        ("vae", ("encoder.conv_in.weight", "decoder.conv_in.weight"), "a VAE.*models/vae"),
        ("controlnet", ("control_model.a.weight", "control_model.b"), "a ControlNet"),
        ("encoder", ("text_model.embeddings.token_embedding.weight",), "a text encoder"),
        ("unet", ("down_blocks.0.weight", "up_blocks.0.weight"), "a diffusion model"),
        ("other", ("a.b.c", "d.e.f"), "belong to a model, or to a LoRA"),
    ):
        shape = {"dtype": "F32", "shape": [1, 1, 16, 48], "data_offsets": [0, 3072]}
        places = {
            one: {**shape, "data_offsets": [n * 3072, (n + 1) * 3072]}
            for n, one in enumerate(tensors)
        }
        made = header(places, values(len(tensors)))
        yield f"part-{name}.safetensors", lambda made=made: made, f"it is {expected}|{expected}"
    names = ("model.diffusion_model.a", "model.b", "c", "d", "cond_stage_model.e", "f")
    state = {"epoch": 3, "state_dict": {one: tensor() for one in names}}
    yield "part-checkpoint.ckpt", lambda: zipped(state), "it is a checkpoint, a whole model"
