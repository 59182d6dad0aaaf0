"""Embedding files: reads everybody's, writes what everybody reads."""

from .reading import read_embedding
from .storage import write_files
from .writing import FORMATS, Export, NumberType, file_advice

__all__ = ["FORMATS", "Export", "NumberType", "file_advice", "read_embedding", "write_files"]
