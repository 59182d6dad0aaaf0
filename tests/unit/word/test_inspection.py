import pytest
import torch
from sample_embeddings import FAMILIES, embedding, rows
from torch import Tensor

from ti_core.word.embedding import Embedding
from ti_core.word.inspection import ROW, inspection_image, inspection_report
from ti_core.word.vocabulary import Neighbor, Vocabulary, nearest_rows, ordinary_norm

WAY = "Load Embedding and Apply Embedding to CLIP"


def test_nearest_rows_are_the_same_in_pieces_and_whole():
    table, vectors = rows(1000, 32, 1), rows(3, 32, 2)
    cosines, numbers = nearest_rows(vectors, table.split(64), 5)
    expected = torch.cosine_similarity(vectors[:, None], table[None], dim=-1).topk(5)
    torch.testing.assert_close(cosines, expected.values)
    assert numbers.equal(expected.indices)


def test_more_neighbors_than_tokens_are_all_of_them():
    assert nearest_rows(rows(1, 8), [rows(3, 8, 1)], 50)[1].shape == (1, 3)


def test_the_norm_of_a_vocabulary_is_that_of_its_ordinary_rows():
    """Rows of zeros, untrained ones and a few long special ones leave it as it is, to the bit."""
    words = rows(1000, 32).norm(dim=-1)
    others = torch.cat([torch.zeros(1200), torch.full((60,), 0.01), torch.full((20,), 500.0)])
    assert ordinary_norm(words) == float(words.mean())
    assert ordinary_norm(torch.cat([others, words, others])) == float(words.mean())


def test_the_report_tells_encoders_norms_neighbors_recipe_and_readers():
    made = embedding(**FAMILIES["SDXL"])
    made.vectors["clip_l"][1] *= 3
    near = [[Neighbor("cat", 0.91)], [Neighbor("dog", 0.5)]]
    report = inspection_report(made, {"clip_l": Vocabulary(0.39, near)})
    norm, second = made.vectors["clip_l"].norm(dim=-1).tolist()
    for line in (
        "'my-cat', init word 'cat'",
        "Fits SDXL, 2 vectors.",
        "clip_g: 2 x 1280",
        f"(mean {(norm + second) / 2:.3f}, vocabulary 0.390)",
        f"vector 1: norm {norm:.3f}; nearest cat 0.91",
        f"vector 2: norm {second:.3f}; nearest dog 0.50",
        "steps: 400",
        "standard: ComfyUI, AUTOMATIC1111",
        "share image: AUTOMATIC1111",
    ):
        assert line in report


def test_formats_that_cannot_hold_it_are_not_offered():
    report = inspection_report(embedding(**FAMILIES["Flux"]), {})
    assert "share image:" not in report
    assert "automatic1111:" not in report
    assert report.startswith("Fits Flux.1, ")


@pytest.mark.parametrize(
    ("family", "readers"),
    [
        ("SD 1", "ComfyUI, AUTOMATIC1111, Forge, SD.Next, kohya, ai-toolkit, diffusers"),
        ("SDXL", "diffusers; this pack"),
    ],
)
def test_diffusers_files_are_for_others_only_where_they_are_one_file(family: str, readers: str):
    report = inspection_report(embedding(**FAMILIES[family]), {})
    assert f"  diffusers: {readers}" in report.splitlines()


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


def test_the_image_has_a_row_per_vector():
    one = inspection_image(embedding(clip_l=768), {})
    two = inspection_image(embedding(**FAMILIES["SDXL"]), {})
    assert two.shape[1] > one.shape[1]
    assert 0.0 <= float(two.min()) < float(two.max()) <= 1.0


def test_of_many_vectors_64_are_shown_and_the_others_counted():
    many = rows(100, 768)
    made = Embedding("a", "b", {"clip_l": many}, {"clip_l": many})
    assert "  ... and 36 more" in inspection_report(made, {}).splitlines()
    few = Embedding("a", "b", {"clip_l": many[:64]}, {"clip_l": many[:64]})
    assert "more" not in inspection_report(few, {})
    assert inspection_image(made, {}).shape == inspection_image(few, {}).shape


def test_vectors_of_zeros_or_of_absurd_length_are_told():
    vectors = rows(3, 768)
    vectors[0], vectors[1] = 0, 5000
    made = Embedding("a", "b", {"clip_l": vectors, "t5xxl": rows(1, 4096)}, {"clip_l": vectors})
    report = inspection_report(made, {"clip_l": Vocabulary(0.4, [[]] * 3)})
    assert "1 of the 3 clip_l vectors are zero" in report
    assert "1 of the 3 clip_l vectors are longer than 400," in report
    assert "t5xxl vectors" not in report


def test_what_was_noticed_when_the_file_was_read_stands_in_the_report():
    vectors = {"clip_l": rows(1, 768)}
    made = Embedding("a", "b", vectors, vectors, notes=("It has changed.",))
    assert "It has changed." in inspection_report(made, {}).splitlines()


def image_rows(vectors: Tensor, known: Vocabulary | None = None) -> Tensor:
    """The drawn rows `[n, 44, 960, 3]` of a word's vectors."""
    made = Embedding("a", "b", {"clip_l": vectors}, {"clip_l": vectors})
    image = inspection_image(made, {"clip_l": known} if known else {})[0]
    return image[ROW : ROW * (len(vectors) + 1)].unflatten(0, (len(vectors), ROW))


def test_large_values_are_bright_in_the_image_and_small_ones_dark():
    vectors = torch.cat([torch.linspace(-1, 1, 768)[None], torch.linspace(1, -1, 768)[None]])
    first, second = image_rows(vectors)[:, 14, 92:508].mean(-1)  # The strips, left to right.
    assert (first.diff() >= 0).all()
    assert (second.diff() <= 0).all()


def test_bars_are_as_long_as_the_norms_beside_the_red_line_of_the_vocabulary():
    vectors = torch.nn.functional.normalize(rows(4, 768), dim=-1)
    vectors *= torch.tensor([[0.5], [1.0], [2.0], [90.0]])
    drawn = image_rows(vectors, Vocabulary(1.0, [[]] * 4))
    blue = torch.isclose(drawn, torch.tensor([0x81, 0xA2, 0xBE]) / 255).all(-1)
    # 30 is the vocabulary's norm, where the red line covers the bar, and 120 the most.
    assert blue[:, 12].sum(-1).tolist() == [16, 30, 60, 120]
    red = torch.isclose(drawn, torch.tensor([0xCC, 0x66, 0x66]) / 255).all(-1)
    assert red[:, 5].nonzero()[:, 1].tolist() == [552] * 4


def test_each_row_of_the_image_names_its_own_neighbors():
    vectors = rows(2, 768)
    near = [[Neighbor("cat", 0.91)], [Neighbor("dog", 0.5)]]
    drawn = image_rows(vectors, Vocabulary(0.39, near))
    other = image_rows(vectors, Vocabulary(0.39, [near[0], [Neighbor("horse", 0.5)]]))
    assert drawn[0].equal(other[0])
    assert not drawn[1].equal(other[1])


@pytest.mark.parametrize(
    ("widths", "readers", "advice"),
    [
        ({"qwen3_4b": 2560}, "ComfyUI", "changes blanks and newlines"),
        ({"qwen25_7b": 3584}, "this pack", "as letters"),
        ({"clip_l": 768, "llama": 4096}, "OneTrainer; this pack", "ends in an error"),
        ({"clip_l": 768, "t5xxl": 4096}, "ComfyUI, OneTrainer", "inserts a space between"),
    ],
)
def test_who_reads_the_file_and_how_is_told(widths: dict[str, int], readers: str, advice: str):
    lines = inspection_report(embedding(**widths), {}).splitlines()
    assert any(line.startswith(f"  standard: {readers}") for line in lines)
    assert any(advice in line and WAY in line for line in lines)


def test_nothing_is_advised_where_the_file_gives_what_training_gave():
    lines = inspection_report(embedding(**FAMILIES["SDXL"]), {}).splitlines()
    assert not any(WAY in line for line in lines)
