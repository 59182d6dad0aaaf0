"""Embedding files: reads everybody's, writes what everybody reads."""

from .reading import read_embedding
from .storage import write_files
from .writing import FORMATS, Export, NumberType

__all__ = ["FORMATS", "Export", "NumberType", "read_embedding", "write_files"]
