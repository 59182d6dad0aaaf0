"""Files that must do no harm: cut, bent and made with bad intent. `cases` lists them."""

import base64
import io
import json
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sample_embeddings import embedding, rows
from torch._utils import _rebuild_tensor_v2

from ti_core.word.formats import FORMATS, Export
from ti_core.word.formats.panels import with_panels

Named = Iterator[tuple[str, bytes]]


class Case(NamedTuple):
    """A file: its name, what builds it, and what must stand in what reading it comes to (a regular
    expression).
    """

    name: str
    build: Callable[[], bytes]
    expected: str


def cases(canary: Path) -> Iterator[Case]:
    """All of them; code in them that ran would make the file `canary`."""
    from strangers_files import strangers  # It takes parts from here.

    for source in (safetensors_files(), archives(canary), plain_files(canary), images(), bent()):
        for name, data in source:
            yield Case(name, lambda built=data: built, "cannot be read as an embedding")
    for strange in strangers():
        yield Case(*strange)


def make(folder: Path, canary: Path) -> dict[str, str]:
    """Write all of them into a folder, and return what is expected of each."""
    expected = {}
    for case in cases(canary):
        (folder / case.name).write_bytes(case.build())
        assert case.name not in expected, case.name
        expected[case.name] = case.expected
    return expected


def bent() -> Named:
    """Good files, cut off at many places and with their beginnings overwritten."""
    draws = random.Random(5)
    for kind, data in good_files().items():
        for number in range(14):
            yield f"cut-{number}.{kind}", data[: len(data) * number // 14]
        for number in range(8):
            size = draws.choice([1, 4, 16])
            at = draws.randrange(0, 4)
            yield f"over-{number}.{kind}", data[:at] + draws.randbytes(size) + data[at + size :]
    for number in range(10):
        yield f"random-{number}.pt", draws.randbytes(5000)


def good_files() -> dict[str, bytes]:
    """One of each kind."""
    made = embedding(clip_l=768)
    old = io.BytesIO()
    torch.save({"emb_params": rows(2, 768)}, old, _use_new_zipfile_serialization=False)
    image = Image.effect_noise((96, 64), 60).convert("RGB")
    return {
        "safetensors": FORMATS["standard"].write(made, Export())[".safetensors"],
        "pt": FORMATS["automatic1111"].write(made, Export())[".pt"],
        "bin": old.getvalue(),
        "png": FORMATS["share image"].write(made, Export(image=image))[".png"],
    }


def safetensors_files() -> Named:
    """Headers that lie."""
    good = {"dtype": "F32", "shape": [1, 768], "data_offsets": [0, 3072]}
    changes: dict[str, dict[str, Any]] = {
        "giant-shape": {"shape": [1 << 40, 768]},
        "overflowing-shape": {"shape": [1 << 62, 1 << 62]},
        "negative-shape": {"shape": [-1, 768]},
        "fractional-shape": {"shape": [1.5, 768]},
        "text-shape": {"shape": "1x768"},
        "empty-shape": {"shape": [], "data_offsets": [0, 4]},
        "no-rows": {"shape": [0, 768], "data_offsets": [0, 0]},
        "four-axes": {"shape": [1, 1, 1, 768]},
        "short-shape": {"shape": [1, 767]},
        "outside": {"data_offsets": [4096, 7168]},
        "far-outside": {"data_offsets": [1 << 50, (1 << 50) + 3072]},
        "backwards": {"data_offsets": [3072, 0]},
        "negative-offset": {"data_offsets": [-3072, 0]},
        "one-offset": {"data_offsets": [0]},
        "unknown-dtype": {"dtype": "F33"},
        "whole-numbers": {"dtype": "I32"},
        "booleans": {"dtype": "BOOL", "shape": [4, 768]},
        "no-dtype": {"dtype": None},
    }
    for name, change in changes.items():
        yield f"{name}.safetensors", header({"emb_params": {**good, **change}})
    yield "overlap.safetensors", header({"clip_l": good, "clip_g": good})
    yield "metadata.safetensors", header({"__metadata__": {"a": [1]}, "emb_params": good})
    yield "not-a-number.safetensors", header({"emb_params": good}, b"\0\0\xc0\x7f" * 768)
    yield "infinite.safetensors", header({"emb_params": good}, b"\0\0\x80\x7f" * 768)
    yield "no-tensors.safetensors", header({})
    yield "list.safetensors", sized(b'{"a": [' + b"[" * 100_000)
    yield "deep.safetensors", sized(b'{"a":' * 100_000)
    yield "too-wide.safetensors", sized(b'{"a":"' + b"x" * (1 << 22) + b'"}')
    yield (
        "many.safetensors",
        sized(b'{"__metadata__":{' + b",".join(b'"%d":""' % n for n in range(400_000)) + b"}}"),
    )
    for power in (24, 40, 62, 63):
        yield f"header-of-2^{power}.safetensors", struct.pack("<Q", 1 << power) + b'{"a":1}'
    yield "wrong-width.safetensors", safetensors.torch.save({"clip_l": torch.ones(1, 1234)})
    yield "unknown-width.safetensors", safetensors.torch.save({"emb_params": torch.ones(1, 77)})
    yield "too-many.safetensors", safetensors.torch.save({"emb_params": torch.ones(6000, 768)})


def header(entries: Any, data: bytes = b"\0" * 3072) -> bytes:
    """A safetensors file."""
    return sized(json.dumps(entries).encode()) + data


def sized(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def evil_pickles(canary: Path) -> Iterator[tuple[str, bytes]]:
    """Pickles that would run code, in every way that the pickle machine knows."""
    import os
    import subprocess

    touch = f"touch {canary}"
    python = f"open({str(canary)!r}, 'w').close()"
    for protocol in range(5):
        for name, call in {
            "system": Calls(os.system, touch),
            "popen": Calls(subprocess.Popen, ["touch", str(canary)]),
            "open": Calls(open, str(canary), "w"),
            "eval": Calls(eval, f"open({str(canary)!r}, 'w')"),
            "exec": Calls(exec, python),
            "getattr": Calls(getattr, Calls(__import__, "os"), "system"),
            "loads": Calls(pickle.loads, pickle.dumps(Calls(os.system, touch))),
        }.items():
            yield f"{name}-{protocol}", pickle.dumps({"emb_params": call}, protocol)
    system = b"cposix\nsystem\n"
    argument = b"X" + struct.pack("<I", len(touch)) + touch.encode()
    yield "reduce", b"\x80\x02" + system + argument + b"\x85R."
    yield "newobj", b"\x80\x02" + system + argument + b"\x85\x81."
    yield "newobj-ex", b"\x80\x04" + system + argument + b"\x85}\x92."
    yield "inst", b"(" + argument + b"iposix\nsystem\n."
    yield "obj", b"(" + system + argument + b"o."
    yield (
        "build",
        b"\x80\x02ccollections\nOrderedDict\n)R}X\x0c\0\0\0__setstate__" + system + b"sb0.",
    )
    yield "extension", b"\x80\x02\x82\x01."
    yield "storage-called", b"\x80\x02ctorch\nFloatStorage\nK\x01\x85R."
    yield "storage-in-a-module", b"\x80\x02ctorch\nhub.load.Storage\n)R."
    yield "dotted", b"\x80\x04\x8c\x05torch\x8c\x13os.system.StorageXX\x93)R."
    yield "parameters", b"\x80\x02ctorch.nn.modules.container\nParameterDict\n)R" + argument + b"b."


def bombs() -> Iterator[tuple[str, bytes]]:
    """Pickles that would take memory, time or the interpreter's stack."""
    yield "memo", b"\x80\x02}r\xff\xff\xff\x7f."
    yield "memo-missing", b"\x80\x02j\xff\xff\xff\x7f."
    yield "length", b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"x."
    yield "long", b"\x80\x02\x8b" + struct.pack("<i", 1 << 30) + b"x."
    yield "negative-long", b"\x80\x02\x8b" + struct.pack("<i", -5) + b"x."
    yield "nested-tuples", b"\x80\x02}" + b")" + b"\x85" * 200_000 + b"K\x01s."
    yield "nested-lists", b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    yield "marks", b"\x80\x02" + b"(" * 500_000 + b"."
    yield "doubling", b"\x80\x02)" + b"q\0h\0h\0\x86" * 90_000 + b"."
    yield "empty-stack", b"\x80\x02R."
    yield "no-end", b"\x80\x02}"
    yield "nothing", b"\x80\x02N."
    yield "digits", b"I" + b"9" * 100_000 + b"\n."
    yield "too-large", b"\x80\x02}" + b"0}" * (2 << 20) + b"."


def tensor_pickle(offset: int, size: Any, stride: Any, count: Any = 768, key: Any = "0") -> bytes:
    """A dict with one tensor as torch would describe it."""

    entry = Calls(_rebuild_tensor_v2, STORAGE, offset, size, stride, False, {})
    return torch_pickle({"emb_params": entry}, count, key)


def torch_pickle(data: Any, count: Any = 768, key: Any = "0") -> bytes:
    """An object as torch.save pickles it, with the values of all tensors in one storage."""

    class Writer(pickle._Pickler):  # type: ignore[name-defined]
        def persistent_id(self, obj: Any) -> Any:
            return ("storage", torch.FloatStorage, key, "cpu", count) if obj is STORAGE else None

    file = io.BytesIO()
    Writer(file, 2).dump(data)
    return file.getvalue()


STORAGE = object()
TENSORS: dict[str, tuple[Any, ...]] = {
    "giant": (0, (1 << 40, 768), (768, 1)),
    "giant-without-stride": (0, (1 << 40, 768), (0, 0)),
    "giant-storage": (0, (1, 1 << 40), (1 << 40, 1), 1 << 40),
    "negative-size": (0, (-1, 768), (768, 1)),
    "negative-stride": (768, (2, 768), (-768, 1)),
    "negative-offset": (-768, (1, 768), (768, 1)),
    "outside": (700, (1, 768), (768, 1)),
    "storage-lies": (0, (2, 768), (768, 1), 1536),
    "strides-missing": (0, (1, 768), (1,)),
    "size-is-text": (0, "ab", (768, 1)),
    "size-is-a-number": (0, 768, 1),
    "truth-as-size": (0, (True, 768), (768, 1)),
    "key-with-a-path": (0, (1, 768), (768, 1), 768, "../../etc/passwd"),
    "key-is-a-number": (0, (1, 768), (768, 1), 768, 7),
    "count-is-text": (0, (1, 768), (768, 1), "many"),
    "many-axes": (0, (1,) * 300, (1,) * 300),
}


def archives(canary: Path) -> Named:
    """Zip archives of torch, outside and inside."""
    for name, data in [*evil_pickles(canary), *bombs()]:
        yield f"zip-{name}.pt", archive(data)
    for name, fields in TENSORS.items():
        yield f"zip-tensor-{name}.pt", archive(tensor_pickle(*fields))
    good = tensor_pickle(0, (1, 768), (768, 1))
    yield "zip-not-a-number.pt", archive(good, b"\0\0\xc0\x7f" * 768)
    yield "zip-compressed.pt", archive(good, method=zipfile.ZIP_DEFLATED)
    yield "zip-bomb.pt", archive(b"\0" * (16 << 20), method=zipfile.ZIP_DEFLATED)
    yield "zip-in-zip.pt", archive(archive(good))
    yield "zip-without-pickle.pt", archive(good, pickle_name="a/other.pkl")
    yield "zip-without-data.pt", archive(good, data_name="a/data/9")
    whole = archive(good)
    yield "zip-many.pt", with_directory_repeated(whole, 60_000)
    yield "zip-comment.pt", whole[:-2] + b"\x05\0hello"
    yield "zip-64.pt", whole[:-10] + b"\xff" * 8 + b"\0\0"
    yield "zip-directory-size.pt", whole[:-10] + struct.pack("<L", 1 << 31) + whole[-6:]
    yield "zip-directory-start.pt", whole[:-6] + struct.pack("<L", 1 << 31) + whole[-2:]
    at = whole.rindex(b"PK\1\2")
    yield "zip-header-outside.pt", whole[: at + 42] + b"\xf0\xff\xff\xff" + whole[at + 46 :]


def archive(
    data: bytes,
    values: bytes = b"\0\0\x80\x3f" * 768,
    method: int = zipfile.ZIP_STORED,
    pickle_name: str = "a/data.pkl",
    data_name: str = "a/data/0",
) -> bytes:
    """A zip archive as torch lays it out."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as opened:
        opened.writestr(pickle_name, data)
        opened.writestr(data_name, values)
    return file.getvalue()


def with_directory_repeated(archive: bytes, times: int) -> bytes:
    """An archive whose directory lists the same entries over and over."""
    end = struct.Struct("<4s4H2LH")
    *fields, size, start, comment = end.unpack(archive[-end.size :])
    directory = archive[start : start + size] * times
    return archive[:start] + directory + end.pack(*fields, len(directory), start, comment)


def plain_files(canary: Path) -> Named:
    """Files of before torch 1.6."""
    first = [pickle.dumps(item, 2) for item in (0x1950A86A20F9469CFC6C, 1001, {})]
    for name, data in [*evil_pickles(canary), *bombs()][::3]:
        yield f"plain-{name}.pt", b"".join(first) + data + pickle.dumps(["0"], 2)
    good = tensor_pickle(0, (1, 768), (768, 1))
    for name, keys, count in (
        ("count-negative", ["0"], -1),
        ("count-giant", ["0"], 1 << 60),
        ("unknown-key", ["7"], 768),
        ("keys-are-no-list", "0", 768),
        ("unhashable-keys", [["0"]], 768),
        ("keys-repeat", ["0"] * 50_000, 768),
    ):
        data = b"".join(first) + good + pickle.dumps(keys, 2) + struct.pack("<q", count)
        yield f"plain-{name}.pt", data
    wrong = pickle.dumps(0x1950A86A20F9469CFC6D, 2) + b"".join(first[1:]) + good
    yield "plain-magic.pt", wrong + pickle.dumps(["0"], 2)


def images() -> Named:
    """Images with and without something in them."""
    small = Image.effect_noise((64, 64), 60).convert("RGB")
    yield "ordinary.png", png(small)
    yield "ordinary.webp", encoded(small, "WEBP", lossless=True)
    yield "ordinary.gif", encoded(small, "GIF")
    yield "ordinary.jpg", encoded(small, "JPEG")
    yield "black.png", png(Image.new("RGB", (512, 512)))
    yield "stripes.png", png(Image.fromarray(np.indices((64, 64, 3))[1].astype(np.uint8) % 2 * 16))
    yield "bomb.png", bomb(50_000, 50_000)
    yield "flat-bomb.png", bomb(1 << 30, 1)
    yield "largest.png", bomb(4096, 2049)
    yield "column.png", bomb(1, 3 << 20)
    yield "row.png", bomb(3 << 20, 1)
    yield "text-bomb.png", png(small, zipped=b"\0" * (64 << 20))
    yield "riff.webp", b"RIFF" + struct.pack("<I", 1 << 31) + b"WEBPVP8L" + b"\xff" * 100
    yield "heif.avif", b"\0\0\0\x20ftypavif" + b"\0" * 100
    for name, text in {
        "no-base64": "!!!",
        "no-json": b64(b"hello"),
        "number": b64(b"7"),
        "deep-list": b64(b"[" * 100_000),
        "deep-dict": b64(b'{"a":' * 100_000),
        "deep-tensor": b64(tensor_json(b"[" * 200 + b"1" + b"]" * 200)),
        "ragged": b64(tensor_json(b"[[1, 2], [3]]")),
        "text-values": b64(tensor_json(b'[["a", "b"]]')),
        "nothing-values": b64(tensor_json(b"[[null, null]]")),
        "dict-values": b64(tensor_json(b'{"a": 1}')),
        "not-a-number": b64(tensor_json(b"[[" + b"NaN," * 767 + b"NaN]]")),
        "infinite": b64(tensor_json(b"[[" + b"1e999," * 767 + b"1]]")),
        "digits": b64(tensor_json(b"[[" + b"9" * 100_000 + b"]]")),
        "empty": b64(tensor_json(b"[]")),
        "two-tensors": b64(b'{"string_to_param": {"a": {"TORCHTENSOR": [1]}, "b": 1}}'),
        "param-is-text": b64(b'{"string_to_param": "x"}'),
        "many-lists": b64(b"[" + b"[]," * (1 << 20) + b"[]]"),
        "too-long": b64(b"[" + b"1," * (3 << 20) + b"1]"),
    }.items():
        yield f"chunk-{name}.png", png(small, text)
    for name, data in {
        "bomb": zlib.compress(b"\0" * (32 << 20), 9),
        "cut": zlib.compress(json.dumps({"a": list(range(3000))}).encode())[:2000],
        "no-json": zlib.compress(b"hello"),
        "noise": random.Random(1).randbytes(4000),
    }.items():
        yield f"panels-{name}.png", png(with_panels(small, data, np.full(9, 99, np.uint8)))


def tensor_json(values: bytes) -> bytes:
    return b'{"string_to_param": {"*": {"TORCHTENSOR": ' + values + b"}}}"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png(image: Image.Image, text: str = "", zipped: bytes = b"") -> bytes:
    """A PNG with an embedding's text chunk."""
    chunks = PngInfo()
    if text:
        chunks.add_text("sd-ti-embedding", text)
    if zipped:
        chunks.add(b"zTXt", b"sd-ti-embedding\0\0" + zlib.compress(zipped))
    return encoded(image, "PNG", pnginfo=chunks)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A small PNG that claims many pixels."""
    fields = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * (1 << 20))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", fields), (b"IDAT", data), (b"IEND", b""))
    )
