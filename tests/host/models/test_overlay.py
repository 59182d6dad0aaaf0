"""The tokens of a text with a word, over every tokenizer class of the host."""

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import folder_paths
import host_tokenizers
import pytest
import torch
from comfy.sd1_clip import SDTokenizer
from safetensors.torch import save_file
from torch import Tensor

from ti_core.concept.placeholder import filled_in, with_placeholder
from ti_core.host.models.overlay import REFERENCE, Word, overlaid, parts, shared_start
from ti_core.host.models.text import list_names
from ti_core.word.families import host_reading

NAMES = sorted(host_tokenizers.classes())
TEXTS = [
    "a photo of {}, on a table",
    "{} sleeps on a table",
    "a {}",
    "{}",
    "{}, {} and {}",
    "a {} {} on a table",
    "the {}'s tail",
    "a red table ({})",
    "({}:1.3) on a ((red)) table",
    "a photo of {}. On a table!",
    "a photo\nof\n{}\n\non a table\n",
    "a  photo of   {}  on a table",
    "[{}] {{}}",
]
QUOTED = ['a sign that says "{}"', '{"subject": "{} sleeps", "count": 2}']
CHAT = "<|im_start|>user\nA photo of {}, on a table<|im_end|>\n<|im_start|>assistant\n"
SPELLS = "longcat_image.LongCatImageTokenizer"  # quoted text, letter by letter
SLOT = "{}"
FILE = "ti-test-overlay"
# The host compares each vector of a file with the number of an image's token.
UNREADABLE = {"hunyuan_video.HunyuanVideoTokenizer", "qwen35.Qwen35ImageTokenizer"}
MARKS_OF_WORDS = re.compile("^[Ġ▁ ]|</w>$|^##")


def folder() -> str:
    return folder_paths.get_folder_paths("embeddings")[0]


def host_tokenizer(name: str) -> Any:
    try:
        return host_tokenizers.tokenizer(name, folder())
    except TypeError as error:
        if "MistralConverter" not in str(error):
            raise
        pytest.skip("ComfyUI before 0.33 cannot make Mistral's tokenizer with transformers 5")


def word_for(tokenizer: Any, initializer: str, count: int = 3) -> Word:
    """A word with vectors for every encoder that a word reaches."""
    keys = list_names(tokenizer, [part.embedding_key for _, part in parts(tokenizer)])
    widths = {part.embedding_key: part.embedding_size for _, part in parts(tokenizer)}
    return Word(initializer, {key: torch.randn(count, widths[key]) for key in keys})


def token_lists(found: Any) -> Iterator[tuple[str, list[tuple[Any, float]]]]:
    """The flat token lists of an outermost tokenizer's result, with weights."""
    for name, chunks in found.items():
        if isinstance(chunks, list) and all(isinstance(chunk, list) for chunk in chunks):
            yield name, [(token[0], token[1]) for chunk in chunks for token in chunk]


def segments(tokens: Sequence[tuple[Any, float]], count: int) -> tuple[list[Any], list[float]]:
    """The ordinary tokens between words of `count` vectors, and the words' weights."""
    found: list[Any] = [[]]
    weights: list[float] = []
    place = 0
    while place < len(tokens):
        token, weight = tokens[place]
        if isinstance(token, Tensor):
            rows = tokens[place : place + count]
            assert all(isinstance(row, Tensor) and other == weight for row, other in rows)
            found.append([])
            weights.append(weight)
            place += count
        else:
            found[-1].append((token, weight))
            place += 1
    return found, weights


def check_rule(
    with_word: Any, plain: Any, padding: dict[str, set[Any]], letters: dict[str, Any], said: str
) -> None:
    """The tokens with a word are the tokens with the initializer, except the word's own."""
    expected = dict(token_lists(plain))
    for name, tokens in token_lists(with_word):
        if name not in padding:
            continue
        between, weights = segments(without_padding(tokens, padding[name]), 3)
        rest = without_padding(expected[name], padding[name])
        *others, last = between
        for segment, weight in zip(others, weights, strict=True):
            shared = shared_start(segment, rest)
            # "(cat" is "(c", "at" to Qwen, and "(", the word's vectors with a word in its place.
            glued = "".join(letters[name][token] for token, _ in segment[shared:])
            assert not re.search(r"[\s\w]", glued)
            rest = rest[shared:]
            own = ""
            while own != glued + said:
                (token, own_weight), *rest = rest
                own += MARKS_OF_WORDS.sub("", letters[name][token])
                assert own_weight == weight
                assert len(own) <= len(glued + said)
        assert rest == last


def without_padding(tokens: list[Any], padding: set[Any]) -> list[Any]:
    """Tokens that are no padding; vectors are none."""
    return [one for one in tokens if torch.is_tensor(one[0]) or one[0] not in padding]


def loses_blanks(part: SDTokenizer) -> bool:
    """Whether a tokenizer takes two words for one, as Llama's does in ComfyUI before 0.33 with
    transformers 5: its tokens are wrong with and without us.
    """
    return part.tokenizer("cat sleeps")["input_ids"] == part.tokenizer("catsleeps")["input_ids"]


@pytest.mark.parametrize("placeholder", ["my-cat", "user"])
@pytest.mark.parametrize("name", NAMES)
def test_the_tokens_around_a_word_are_those_around_its_initializer(name: str, placeholder: str):
    tokenizer = host_tokenizer(name)
    word = word_for(tokenizer, "cat")
    known = overlaid(tokenizer, placeholder, word)
    assert word.vectors, "no encoder reads the word"
    lists = list_names(tokenizer, word.vectors)
    of_list = {
        lists[part.embedding_key]: part
        for _, part in parts(tokenizer)
        if part.embedding_key in lists and not loses_blanks(part)
    }
    for text in [*TEXTS, *QUOTED, CHAT]:
        if name == SPELLS and text in QUOTED:
            continue
        check_rule(
            known.tokenize_with_weights(text.replace(SLOT, placeholder)),
            tokenizer.tokenize_with_weights(text.replace(SLOT, "cat")),
            {one: {part.pad_token, part.end_token} for one, part in of_list.items()},
            {one: part.inv_vocab for one, part in of_list.items()},
            "cat",
        )


REFERENCES = [
    "a photo of embedding:{} on a table",
    "embedding:{}",
    "embedding:{}, on a table",
    "a (embedding:{}:1.3) on a (red table)",
    "a photo of\nembedding:{}\non a table, embedding:{} and embedding:{},",
    "a photo of embedding:{}[on] a table",
]
# Their tokens of T5 go to the diffusion model as numbers, where vectors have no place.
NUMBERS_ALONE = {"anima.AnimaTokenizer": {"t5xxl"}}


def same_tokens(one: list[Any], other: list[Any]) -> bool:
    """Whether two token lists have equal numbers, vectors and weights."""
    return [readable(token) for token in one] == [readable(token) for token in other]


def readable(token: tuple[Any, float]) -> tuple[Any, float]:
    """A token that can be compared, whether a number or a vector."""
    one, weight = token
    return (one.tolist() if torch.is_tensor(one) else one, weight)


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_is_read_as_the_host_reads_a_file_of_that_name(name: str):
    tokenizer = host_tokenizer(name)
    word = word_for(tokenizer, "cat")
    known = overlaid(tokenizer, FILE, word)
    lists = set(list_names(tokenizer, word.vectors).values()) - NUMBERS_ALONE.get(name, set())
    path = Path(folder()) / f"{FILE}.safetensors"
    try:
        save_file({key: rows.contiguous() for key, rows in word.vectors.items()}, path)
        for text in REFERENCES:
            said = text.replace(SLOT, FILE)
            by_us = dict(token_lists(known.tokenize_with_weights(said)))
            try:
                by_host = dict(token_lists(tokenizer.tokenize_with_weights(said)))
            except RuntimeError:
                assert name in UNREADABLE
                continue
            for one in lists:  # What the host reads as letters is a word with us.
                if any(torch.is_tensor(token) for token, _ in by_host[one]):
                    assert same_tokens(by_us[one], by_host[one])
    finally:
        path.unlink(missing_ok=True)


# Where references begin and how they go on, as the host's reader knows it (core sd1_clip.py:543).
BEFORE = ["", "a photo of ", "red\n", "a\u3000", "((a) ", "[a ", "a\\( ", "x,embedding:gone, "]
BLANKS = ["", " ", "  ", "\n", "\t ", "\u3000"]
BEHIND = [
    "",
    ",",
    ",,",
    ", on",
    " on a\ntable",
    "\n",
    "[on]",
    "<on> a",
    ",[on",
    " \\) b",
    "  (a:1.2)",
]
WHOLE = [
    f"(embedding:{SLOT}:1.2)",
    f"(a embedding: {SLOT}:0.5) b",
    f"((embedding:{SLOT}))",
    f"embedding:{SLOT}.safetensors on",
    f"embedding:./{SLOT}",
    f"a \\( embedding:{SLOT} \\) b",
    f"embedding:{SLOT} embedding: {SLOT}, embedding:{SLOT}",
    f"(embedding:{SLOT} and (embedding: {SLOT}:1.3) c:1.1)",
    f"{'red ' * 70}embedding: {SLOT} on a table",
    f"{'red ' * 74}embedding:{SLOT}, embedding:{SLOT} a",
]
READERS = ["sd1_clip.SD1Tokenizer", "sdxl_clip.SDXLTokenizer", "sd3_clip.SD3Tokenizer"]
READERS += ["z_image.ZImageTokenizer", "flux.FluxTokenizer", "qwen_image.QwenImageTokenizer"]


@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize("name", [name for name in READERS if name in NAMES])
def test_whatever_the_host_reads_as_a_reference_gives_the_same_tokens(name: str, count: int):
    tokenizer = host_tokenizer(name)
    word = word_for(tokenizer, "cat", count)
    known = overlaid(tokenizer, FILE, word)
    lists = set(list_names(tokenizer, word.vectors).values())
    path = Path(folder()) / f"{FILE}.safetensors"
    pairs = enumerate(itertools.product(BEFORE, BEHIND))
    made = [
        f"{before}embedding:{BLANKS[number % len(BLANKS)]}{SLOT}{behind}"
        for number, (before, behind) in pairs
    ]
    try:
        save_file({key: rows.contiguous() for key, rows in word.vectors.items()}, path)
        for text in [*WHOLE, *made]:
            said = text.replace(SLOT, FILE)
            by_host = dict(token_lists(tokenizer.tokenize_with_weights(said)))
            by_us = dict(token_lists(known.tokenize_with_weights(said)))
            for one in lists:
                if any(torch.is_tensor(token) for token, _ in by_host[one]):
                    assert same_tokens(by_us[one], by_host[one]), repr(said)
                assert any(torch.is_tensor(token) for token, _ in by_us[one]), repr(said)
    finally:
        path.unlink(missing_ok=True)


TOUCHED = [
    "一只{}在桌子上",
    "photo_of_{}",
    "{}s",
    "a {}{} b",
    "写真{}のネコ",
    "사진 {}이 있다",
    "x{}y {}'s",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_slot_is_all_its_vectors_and_nothing_around_it_is_lost(name: str):
    tokenizer = host_tokenizer(name)
    word = word_for(tokenizer, "cat")
    known = overlaid(tokenizer, "my-cat", word)
    lists = list_names(tokenizer, word.vectors)
    for text in TOUCHED:
        by_us = dict(token_lists(known.tokenize_with_weights(with_placeholder(text, "my-cat"))))
        for key, one in lists.items():
            vectors = [token for token, _ in by_us[one] if torch.is_tensor(token)]
            expected = [*word.vectors[key]] * text.count(SLOT)
            assert len(vectors) == len(expected)
            assert all(row.equal(other) for row, other in zip(vectors, expected, strict=True))


@pytest.mark.parametrize("name", ["sd1_clip.SD1Tokenizer", "z_image.ZImageTokenizer"])
def test_a_letter_behind_a_slot_stays(name: str):
    tokenizer = host_tokenizer(name)
    known = overlaid(tokenizer, "my-cat", word_for(tokenizer, "cat"))
    (tokens,) = dict(
        token_lists(known.tokenize_with_weights(filled_in("a {}s b", "my-cat")))
    ).values()
    (plain,) = dict(token_lists(tokenizer.tokenize_with_weights("a s b"))).values()
    (part,) = (part for _, part in parts(tokenizer))
    numbers = [token for token, _ in tokens if not torch.is_tensor(token)]
    read = "".join(MARKS_OF_WORDS.sub("", part.inv_vocab[one]) for one in numbers)
    assert "asb" in read
    assert len(tokens) <= len(plain) + 3 or len(tokens) == 77


PRIVATE = ["\ue000x", "a \ue001x b", "\uf8ffx", "\ue002", "\U000f0000x", "\U0010fffdx", "\ue0000x"]


@pytest.mark.parametrize("name", ["sd1_clip.SD1Tokenizer", "z_image.ZImageTokenizer"])
def test_private_characters_in_a_prompt_are_what_they_are_to_the_host(name: str):
    tokenizer = host_tokenizer(name)
    known = overlaid(tokenizer, "my-cat", word_for(tokenizer, "cat"))
    for text in PRIVATE:
        assert known.tokenize_with_weights(text) == tokenizer.tokenize_with_weights(text)


@pytest.mark.parametrize(
    "sign", ["\ufdd00x", "\ufdd01x", "\ufdd1", "\ufdef9x", "embedding:\ufdd00x"]
)
def test_no_typed_mark_is_a_word(sign: str):
    tokenizer = host_tokenizer("sd1_clip.SD1Tokenizer")
    known = overlaid(tokenizer, "my-cat", word_for(tokenizer, "cat"))
    (tokens,) = dict(token_lists(known.tokenize_with_weights(f"a {sign} b"))).values()
    assert not any(torch.is_tensor(token) for token, _ in tokens)


@pytest.mark.parametrize(
    "text",
    [
        "embedding:",
        "embedding: ",
        "a embedding: (my-cat:1.2)",
        "embedding:, my-cat",
        "(embedding: )",
    ],
)
def test_a_reference_without_a_name_is_no_failure(text: str):
    tokenizer = host_tokenizer("sd1_clip.SD1Tokenizer")
    known = overlaid(tokenizer, "my-cat", word_for(tokenizer, "cat"))
    (tokens,) = dict(token_lists(known.tokenize_with_weights(text))).values()
    found = sum(torch.is_tensor(token) for token, _ in tokens)
    assert found == (3 if "my-cat" in text else 0)


def test_a_known_word_between_angle_brackets_leaves_none():
    tokenizer = host_tokenizer("sd1_clip.SD1Tokenizer")
    known = overlaid(tokenizer, "my-cat", word_for(tokenizer, "cat"))
    bare = dict(token_lists(known.tokenize_with_weights("a my-cat, b")))
    for text in ("a <my-cat>, b", "a <embedding:my-cat>, b", "a <MY-CAT>, b"):
        told = dict(token_lists(known.tokenize_with_weights(text)))
        assert all(same_tokens(told[one], bare[one]) for one in bare)


MUSIC_AND_MASKS = {"ace.AceT5Tokenizer", "ace15.ACE15Tokenizer", "sam3_clip.SAM3TokenizerWrapper"}
# MiniMax's reads no files before 0.33; Anima's file ends in an error where a prompt is encoded.
TOLD_OTHERWISE = {"minimax.MiniMaxH3Tokenizer", "anima.AnimaTokenizer"}


def host_reads(tokenizer: Any, word: Word) -> str:
    """How the host reads a file of the word, beside the word read bare."""
    known = overlaid(tokenizer, FILE, word)
    lists = set(list_names(tokenizer, word.vectors).values())
    found = []
    for text in ("a photo of {} on a table", "a photo of {}, on a table"):
        try:
            as_file = tokenizer.tokenize_with_weights(text.replace(SLOT, REFERENCE + FILE))
        except RuntimeError:
            return "error"
        by_host = dict(token_lists(as_file))
        by_us = dict(token_lists(known.tokenize_with_weights(text.replace(SLOT, FILE))))
        if not all(any(torch.is_tensor(token) for token, _ in by_host[one]) for one in lists):
            return "letters"
        found.append(all(same_tokens(by_us[one], by_host[one]) for one in lists))
    return {(True, True): "same", (True, False): "signs"}.get(tuple(found), "blanks")


@pytest.mark.parametrize("name", sorted({*NAMES} - MUSIC_AND_MASKS - TOLD_OTHERWISE))
def test_how_the_host_reads_a_file_is_what_save_tells(name: str):
    tokenizer = host_tokenizer(name)
    if any(loses_blanks(part) for _, part in parts(tokenizer)):
        pytest.skip("ComfyUI before 0.33 cannot read Llama's tokenizer with transformers 5")
    word = word_for(tokenizer, "cat")
    told = host_reading(word.vectors)
    path = Path(folder()) / f"{FILE}.safetensors"
    try:
        save_file({key: rows.contiguous() for key, rows in word.vectors.items()}, path)
        assert told in (host_reads(tokenizer, word), None)
    finally:
        path.unlink(missing_ok=True)


def test_a_word_that_an_encoder_does_not_get_is_an_error():
    known = overlaid(host_tokenizer(SPELLS), "my-cat", word_for(host_tokenizer(SPELLS), "cat"))
    with pytest.raises(ValueError, match=r"'my-cat' did not reach the text encoder qwen25_7b"):
        known.tokenize_with_weights('a sign that says "my-cat"')
    with pytest.raises(ValueError, match="cut the prompt off before the word"):
        known.tokenize_with_weights("red " * 600 + "my-cat")


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_without_vectors_reads_the_initializer(name: str):
    tokenizer = host_tokenizer(name)
    known = overlaid(tokenizer, "my-cat", Word("striped cat", {}))
    for text in (*TEXTS, *QUOTED):
        said = known.tokenize_with_weights(text.replace(SLOT, "my-cat"))
        assert said == tokenizer.tokenize_with_weights(text.replace(SLOT, "striped cat"))


@pytest.mark.parametrize("name", NAMES)
def test_the_given_tokenizer_is_untouched(name: str):
    tokenizer = host_tokenizer(name)
    before = tokenizer.tokenize_with_weights("a photo of my-cat")
    overlaid(tokenizer, "my-cat", word_for(tokenizer, "cat"))
    assert tokenizer.tokenize_with_weights("a photo of my-cat") == before
