"""AUTOMATIC1111's embeddings: a dict around one tensor, by torch.save or inside an image."""

from .contents import Contents, Draft, Stored, string_items
from .facts import name_of
from .recipe import RECIPE, recipe_in

FACTS = {"step": "steps", "sd_checkpoint": "base_model_hash", "sd_checkpoint_name": "base_model"}


def read(contents: Contents) -> list[Draft] | None:
    """The one word of such a dict; old files, and those of the paper's code, hold torch's
    ParameterDict, which by now is a dict too.
    """
    data = contents.data
    if not isinstance(data, dict) or "string_to_param" not in data:
        return None
    entries = data["string_to_param"]
    tensors = list(entries.values()) if isinstance(entries, dict) else []
    if len(tensors) != 1 or not isinstance(tensors[0], Stored):
        raise ValueError("its 'string_to_param' does not hold exactly one tensor")
    known = dict(string_items(data))
    facts = {  # 0 steps are those that nobody knew.
        ours: known[key]
        for key, ours in FACTS.items()
        if isinstance(known.get(key), str | int) and known[key] != 0
    }
    recipe = known.get(RECIPE)
    facts |= recipe_in(recipe, contents.file) if isinstance(recipe, str) else {}
    return [Draft(name_of(known.get("name")), ((None, tensors[0]),), facts)]
