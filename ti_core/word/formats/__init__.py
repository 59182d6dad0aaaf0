"""Embedding files: reads everybody's, writes what everybody reads."""

from .reading import read_embedding
from .storage import free_base, write_files
from .writing import FORMATS, Export, NumberType, file_advice

__all__ = [
    "FORMATS",
    "Export",
    "NumberType",
    "file_advice",
    "free_base",
    "read_embedding",
    "write_files",
]
