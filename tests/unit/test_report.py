from toy import concept, word

from ti_core.report import Outcome, training_report


def outcome(after: float) -> Outcome:
    return Outcome([0.5] * 10, 0.2, after, 5.0, {"clip_l": 0.41}, {"clip_l": 0.4})


def test_the_report_tells_what_was_explained():
    text = training_report(concept()[0], word(), outcome(0.15))
    assert "10 steps in 5.0 s (0.50 s per step)" in text
    assert "explains 25.0 % more than 'cat' does" in text
    assert "Norm of the clip_l vectors 0.410 (vocabulary: 0.400)" in text


def test_the_report_says_when_nothing_was_learned():
    assert "Nothing was learned" in training_report(concept()[0], word(), outcome(0.2))
    assert "Nothing was learned" not in training_report(concept()[0], word(), outcome(0.19))


def test_the_report_names_captions_without_the_placeholder():
    pictures = concept(2)[0]
    captioned = type(pictures)(pictures.pictures, pictures.names, "captions", ("a {}", "b"))
    text = training_report(captioned, word(), outcome(0.1))
    assert "missing from the captions of 1 pictures and was put in front: 1.png" in text
