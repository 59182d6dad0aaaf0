import torch
from sample_embeddings import FAMILIES, embedding, rows

from ti_core.word.embedding import Embedding
from ti_core.word.inspection import inspection_picture, inspection_report
from ti_core.word.vocabulary import Neighbour, Vocabulary, nearest_rows


def test_nearest_rows_are_the_same_in_pieces_and_whole():
    table, vectors = rows(1000, 32, 1), rows(3, 32, 2)
    cosines, numbers = nearest_rows(vectors, table.split(64), 5)
    expected = torch.cosine_similarity(vectors[:, None], table[None], dim=-1).topk(5)
    torch.testing.assert_close(cosines, expected.values)
    assert numbers.equal(expected.indices)


def test_more_neighbours_than_tokens_are_all_of_them():
    assert nearest_rows(rows(1, 8), [rows(3, 8, 1)], 50)[1].shape == (1, 3)


def test_the_report_tells_encoders_norms_neighbours_recipe_and_readers():
    made = embedding(**FAMILIES["SDXL"])
    near = [[Neighbour("cat", 0.91)], [Neighbour("dog", 0.5)]]
    report = inspection_report(made, {"clip_l": Vocabulary(0.39, near)})
    norm = float(made.vectors["clip_l"][0].norm())
    for line in (
        "'my-cat', initialiser 'cat'",
        "Fits SDXL.",
        "clip_g: 2 x 1280",
        "vocabulary 0.390",
        f"vector 1: norm {norm:.3f}; nearest cat 0.91",
        "steps: 400",
        "standard: ComfyUI, AUTOMATIC1111",
        "share picture: AUTOMATIC1111",
    ):
        assert line in report


def test_formats_that_cannot_hold_it_are_not_offered():
    report = inspection_report(embedding(**FAMILIES["Flux"]), {})
    assert "share picture:" not in report
    assert "automatic1111:" not in report
    assert "Fits Flux.1." in report


def test_an_unknown_start_is_told():
    vectors = {"clip_l": rows(1, 768)}
    made = Embedding("a", "b", vectors, {"clip_l": torch.zeros(1, 768)})
    report = inspection_report(made, {})
    assert "start vectors unknown" in report
    assert "No recipe." in report


def test_long_entries_are_cut():
    made = embedding(clip_l=768)
    long = Embedding("a", "b", made.vectors, made.initial, {"note": "x" * 500})
    assert max(len(line) for line in inspection_report(long, {}).splitlines()) < 160


def test_the_picture_has_a_row_per_vector():
    one = inspection_picture(embedding(clip_l=768), {})
    two = inspection_picture(embedding(**FAMILIES["SDXL"]), {})
    assert two.shape[1] > one.shape[1]
    assert 0.0 <= float(two.min()) < float(two.max()) <= 1.0
