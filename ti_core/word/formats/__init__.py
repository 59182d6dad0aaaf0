"""Embedding files: reads everybody's, writes what everybody reads."""

from .reading import read_embedding, read_words
from .recipe import file_metadata
from .storage import free_base, free_path, write_files, write_safetensors
from .writing import FORMATS, Export, Storage, file_tensors

__all__ = [
    "FORMATS",
    "Export",
    "Storage",
    "file_metadata",
    "file_tensors",
    "free_base",
    "free_path",
    "read_embedding",
    "read_words",
    "write_files",
    "write_safetensors",
]
