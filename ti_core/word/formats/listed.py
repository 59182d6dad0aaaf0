"""Lists of dicts of tensors, and single tensors, as some merging tools save them."""

from .contents import Contents, Draft, Stored

MAX_TENSORS = 64


def read(contents: Contents) -> list[Draft] | None:
    """One word of all the tensors of a list, those of one width below one another; or of a tensor
    alone.
    """
    if isinstance(contents.data, Stored):
        return [Draft("", ((None, contents.data),))]
    if not isinstance(contents.data, list):
        return None
    parts = [part for part in contents.data if isinstance(part, dict)]
    tensors = [kept for part in parts for kept in part.values() if isinstance(kept, Stored)]
    if not tensors or len(parts) < len(contents.data) or len(tensors) > MAX_TENSORS:
        raise ValueError(f"it is a list, but not of dicts of at most {MAX_TENSORS} tensors")
    return [Draft("", tuple((None, kept) for kept in tensors))]
