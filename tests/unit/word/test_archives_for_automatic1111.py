"""The .pt that is written passes the check that AUTOMATIC1111 makes before it opens one, whatever
this torch would write.

What it allows stands here as data, in our own words: of 1.7, and of 1.10 and Forge, which take a
little more.
"""

import io
import pickletools
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from sample_embeddings import FAMILIES, embedding, same_vectors, write

from ti_core.word.formats import Export, read_embedding
from ti_core.word.formats.torch_archive import archive_bytes

MEMBERS = {
    "1.7": ("data.pkl", "version", "data/NUMBER"),
    "1.10": ("data.pkl", "version", "byteorder", ".data/serialization_id", "data/NUMBER"),
}
GLOBALS = {
    "collections": {"OrderedDict"},
    "torch._utils": {
        "_rebuild_tensor_v2",
        "_rebuild_parameter",
        "_rebuild_device_tensor_from_numpy",
    },
    "torch": {
        *("FloatStorage", "HalfStorage", "IntStorage", "LongStorage", "DoubleStorage"),
        *("ByteStorage", "BFloat16Storage", "float32"),
    },
    "torch.nn.modules.container": {"ParameterDict"},
    "numpy.core.multiarray": {"scalar", "_reconstruct"},
    "numpy": {"dtype", "ndarray"},
    "_codecs": {"encode"},
    "__builtin__": {"set"},
}
EVERY = [(name, kind) for name in ("SD 1", "SD 2", "SDXL") for kind in ("fp32", "fp16")]


def refused(data: bytes, version: str) -> list[str]:
    """What that version would not let pass."""
    allowed = {re.sub(r"\d+$", "NUMBER", name) for name in MEMBERS[version]}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        folders = {name.partition("/")[0] for name in archive.namelist()}
        names = [name.partition("/")[2] for name in archive.namelist()]
        bad = [name for name in names if re.sub(r"^data/\d+$", "data/NUMBER", name) not in allowed]
        (pickled,) = (archive.read(f"{folder}/data.pkl") for folder in folders)
    return bad + [name for name in globals_of(pickled) if not is_allowed(*name.split(" "))]


def globals_of(pickled: bytes) -> list[str]:
    """Functions and classes that a pickle names; all of them in the one way that is looked at."""
    found = [(code.name, argument) for code, argument, _ in pickletools.genops(pickled)]
    assert not {"STACK_GLOBAL", "INST", "EXT1"}.intersection(name for name, _ in found)
    return [str(argument) for name, argument in found if name == "GLOBAL"]


def is_allowed(module: str, name: str) -> bool:
    return name in GLOBALS.get(module, ())


@pytest.mark.parametrize("version", MEMBERS)
@pytest.mark.parametrize(("family", "storage"), EVERY)
def test_nothing_in_the_file_is_refused(family: str, storage: Any, version: str, tmp_path: Path):
    made = embedding(**FAMILIES[family])
    (path,) = write(tmp_path / "my-cat", made, "automatic1111", Export(storage))
    assert refused(path.read_bytes(), version) == []


def test_the_check_is_the_one_that_todays_torch_does_not_pass(tmp_path: Path):
    file = io.BytesIO()
    torch.save({"*": torch.zeros(1, 768)}, file)
    assert refused(file.getvalue(), "1.7")


@pytest.mark.parametrize(("family", "storage"), EVERY)
def test_torch_and_our_reader_read_what_was_written(family: str, storage: Any, tmp_path: Path):
    made = embedding(**FAMILIES[family])
    (path,) = write(tmp_path / "my-cat", made, "automatic1111", Export(storage))
    data = torch.load(path, weights_only=True)
    read = data if family == "SDXL" else {next(iter(made.vectors)): data["string_to_param"]["*"]}
    kind = {"fp32": torch.float32, "fp16": torch.float16}[storage]
    assert all(rows.equal(made.vectors[key].to(kind)) for key, rows in read.items())
    if storage == "fp32":
        same_vectors(read_embedding(path), made)


def test_the_same_word_is_the_same_bytes_at_any_time():
    """Nor does it matter how the tensors lie in memory, or which of them share it."""
    rows = torch.arange(24.0).reshape(4, 6)
    whole = archive_bytes({"a": rows[1:3].clone(), "n": 1, "text": "大猫"})
    assert whole == archive_bytes({"a": rows[1:3], "n": 1, "text": "大猫"})
    read = torch.load(io.BytesIO(whole), weights_only=True)
    assert read["a"].equal(rows[1:3]) and (read["n"], read["text"]) == (1, "大猫")
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
