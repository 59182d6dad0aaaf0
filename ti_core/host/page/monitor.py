"""What the page shows of a run, and what it may ask of it."""

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, get_args

import comfy.utils
import folder_paths
import torch
from comfy.sd import CLIP
from PIL import Image
from torch import Tensor

from ...quoted import encodable
from ...store.run_store import milestone
from ...training.preflight import clock
from ...training.report import why_ended
from ...training.run import Keep, RunState
from ...training.settings import TrainingSettings
from ...training.stopping import Validation
from ...word.embedding import Embedding
from ...word.formats import Export
from ...word.formats.storage import discard, reason
from ..embedding_files import embedding_path, pixels, save_embedding
from ..models.compatibility import is_interrupt
from ..nearest_words import vocabularies
from ..provenance import learned_word
from .curves import downsampled_means, gained, rounded, shares
from .preview_images import kept

IMAGES = "textual_inversion"  # the folder below the host's temporary one
SMOOTHING = 0.95
MOST_POINTS = 250  # of each curve in a message
MOST_NOTES, LONGEST_NOTE = 8, 600
LONGEST_REPORT = 6000
NEIGHBORS, MOST_WORDS, LONGEST_WORD = 3, 6, 40
WORDS_SHARE = 0.02  # of the time may be spent on looking for the nearest words
moments = itertools.count(1)  # Orders what is told, whatever the clock does.

Vectors = Mapping[str, Tensor]
Going = Literal["preparing", "encoding", "trying", "measuring", "learning", "drawing"]
Over = Literal["done", "cancelled", "failed"]
Phase = Going | Over


class Saved(NamedTuple):
    """A file that was written of the word after a step, by its name among the embeddings."""

    step: int
    name: str


class Monitor:
    """One run as the page sees it: a record that says at any time, in a few kilobytes, where the
    run is. A context manager around it, which notes how it ended. `changed` is called after every
    change, maybe many times a second.

    It is the run's `RunObserver`, and takes its previews as `image`;
    requests of the page, in other threads, `stop`, `draw` and `save`. What they share is read and
    written under `lock`.
    """

    def __init__(
        self,
        embedding: Embedding,
        clip: CLIP | None,
        steps: int,
        keep: Keep,
        node_id: str | None,
        workflow: str = "",
    ):
        self.run = uuid.uuid4().hex
        self.embedding, self.clip, self.steps = embedding, clip, steps
        self.keep: Keep = keep
        self.node_id, self.workflow = node_id or "", workflow
        self.about: Mapping[str, str] = {"node": self.node_id, "workflow": workflow}
        self.settings: TrainingSettings | None = None  # for the recipe of a file
        self.changed: Callable[[], None] = lambda: None
        self.bar = comfy.utils.ProgressBar(steps, node_id=node_id)
        self.stop, self.draw = threading.Event(), threading.Event()
        self.lock, self.saving = threading.RLock(), threading.Lock()
        self.phase: Phase = "preparing"
        self.state: RunState | None = None
        self.step = 0
        self.first: int | None = None
        self.began = self.first_at = time.perf_counter()
        self.pace = 0.0
        self.loss: float | None = None
        self.validations: tuple[Validation, ...] = ()
        self.best: int | None = None
        self.reached: float | None = None
        self.near: list[str] = []
        self.looking = 0.0
        self.notes: list[str] = []
        self.drawing = False  # what somebody has asked for
        self.missed = ""  # why the last preview could not be drawn
        self.why = self.report = ""
        self.stored: int | None = None
        self.stored_as = ""
        self.word: Vectors | None = None
        self.words: dict[int, Vectors] = {}
        self.images: dict[int, Path] = {}
        self.saved: dict[int, str] = {}

    # What the run tells

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self.lock:
            if error is not None and is_interrupt(error):
                self.phase = "cancelled"
            elif error is not None:
                self.phase = "failed"
                self.why = shortened(str(error) or type(error).__name__, LONGEST_NOTE)
            self.clip = None  # The record outlives the run; the models need not.
        self.changed()

    def enter(self, phase: Phase) -> None:
        """The run begins with something else."""
        with self.lock:
            self.phase = phase
        self.changed()

    def tell(self, text: str) -> None:
        """Something that the user should know while it trains."""
        with self.lock:
            self.notes = [*self.notes, shortened(text, LONGEST_NOTE)][-MOST_NOTES:]
        self.changed()

    def resumed(self, state: RunState, words: Mapping[int, Vectors]) -> None:
        """The run goes on from a stored state; `words` are those of its stored steps."""
        with self.lock:
            self.words |= words
            self.first = state.step
            self.note_state(state)
        self.changed()

    def on_step(self, state: RunState) -> None:
        """A step; the first call tells where the run starts."""
        with self.lock:
            self.note_state(state)
            self.phase = "learning"
            self.first = state.step if self.first is None else self.first
            self.measure(state)
        self.bar.update_absolute(state.step)
        if state.validated:
            self.look_for_words(state)
        self.changed()

    def measure(self, state: RunState) -> None:
        """Take the time, and the running mean of the losses."""
        now = time.perf_counter()
        done = state.step - (self.first or 0)
        if done <= 0:
            self.first_at = now
            return
        self.pace = (now - self.first_at) / done
        before = state.losses[-1] if self.loss is None else self.loss
        self.loss = SMOOTHING * before + (1 - SMOOTHING) * state.losses[-1]

    def note_state(self, state: RunState) -> None:
        """Where the run is, in values that no other thread sees half changed."""
        self.state, self.step, self.word = state, state.step, state.mean
        if milestone(state.step):
            self.words[state.step] = state.mean
        if len(state.validations) != len(self.validations):
            self.validations = tuple(state.validations)
            self.best = state.choice.step
            if state.step:
                self.reached = gained(state, self.validations[-1].loss)

    def look_for_words(self, state: RunState) -> None:
        """Find the vocabulary's words that are nearest, if that takes next to none of the time."""
        began = time.perf_counter()
        if self.clip is None or self.looking > WORDS_SHARE * (began - self.began):
            return
        with torch.inference_mode():
            known = vocabularies(replace(self.embedding, vectors=state.mean), self.clip, NEIGHBORS)
        tokens = (one.token for found in known.values() for row in found.nearest for one in row)
        near = [shortened(token, LONGEST_WORD) for token in dict.fromkeys(tokens)][:MOST_WORDS]
        with self.lock:
            self.near = near
            self.looking += time.perf_counter() - began

    def image(self, step: int, drawn: Tensor, vectors: Vectors) -> None:
        """A preview `[h, w, 3]` in 0..1 of the word after a step."""
        path = Path(folder_paths.get_temp_directory(), IMAGES, f"{self.run}-{step}.jpg")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels(drawn)).save(path, quality=92)
        except OSError as error:
            self.tell(f"The preview at step {step} cannot be shown ({reason(error)}).")
            return
        with self.lock:
            self.images[step], self.words[step] = path, vectors
            gone = set(self.images) - set(kept(self.images))
            paths = [self.images.pop(one) for one in gone]
            for one in gone:
                if not milestone(one):
                    del self.words[one]
        discard(*paths)
        self.changed()

    def previewed(self, problem: str) -> None:
        """A preview has been drawn, or could not be."""
        with self.lock:
            self.drawing, self.missed = False, shortened(problem, LONGEST_NOTE)
            self.phase = "learning"
        self.changed()

    def stored_at(self, step: int, name: str) -> None:
        """The run is on disk up to a step, 0 for none, under a name."""
        with self.lock:
            self.stored, self.stored_as = step, name

    def end(self, report: str) -> None:
        """The run has given its word."""
        with self.lock:
            self.phase, self.report = "done", shortened(report, LONGEST_REPORT)
            if self.state:
                self.note_state(self.state)
                self.validations = tuple(self.state.history)
                self.why = why_ended(self.state)
                self.best = self.state.choice.step
                self.reached = gained(self.state, self.state.kept_loss(self.keep))

    # What the page asks

    def should_preview(self) -> bool:
        """Whether somebody has asked for a preview since the last time."""
        with self.lock:
            self.drawing = self.draw.is_set()
            self.draw.clear()
            return self.drawing

    def should_stop(self) -> bool:
        """Whether somebody has pressed Stop and keep."""
        return self.stop.is_set()

    def asked(self) -> list[str]:
        """What was asked for and is still to come."""
        waits = {"stop": self.stop.is_set(), "preview": self.draw.is_set() or self.drawing}
        return [name for name, still in waits.items() if still and not self.over]

    @property
    def over(self) -> bool:
        """Whether the run is at its end."""
        return self.phase in get_args(Over)

    def save(self, step: int | None = None) -> Saved:
        """Write the word after a step, or as it is now, to a new file as Save Embedding does; where
        this run has done so already, give that one. ValueError for vectors that are not kept.
        """
        with self.saving:
            with self.lock:
                at = self.step if step is None else step
                vectors = self.word if step is None else self.words.get(at)
            if vectors is None or self.state is None:
                when = "yet" if step is None else f"of step {step}"
                raise ValueError(f"No vectors of '{self.embedding.placeholder}' are there {when}.")
            name = self.saved.get(at)
            if name is None or not self.is_there(name):
                name = self.written(at, vectors)
            with self.lock:
                self.saved[at] = name
        self.changed()
        return Saved(at, name)

    def written(self, step: int, vectors: Vectors) -> str:
        """The name of a new file with these vectors; the plain one is for what the run gives at its
        end, so that Save Embedding behind it finds it free.
        """
        assert self.state is not None and self.settings is not None
        state = self.state.as_of(step, dict(vectors))
        word = learned_word(self.embedding, state, replace(self.settings, keep="last"))
        last = self.best if self.keep == "best" else self.step
        given = self.phase == "done" and step == last
        name = word.placeholder if given else f"{word.placeholder}-step{step}"
        (path,) = save_embedding(word, name, "standard", Export(image=self.sample(step)), False)
        return path.stem

    def is_there(self, name: str) -> bool:
        """Whether a file that was written is still there."""
        return embedding_path(name).with_name(f"{name}.safetensors").is_file()

    def sample(self, step: int) -> Image.Image | None:
        """The preview of a step, as the thumbnail of a file."""
        path = self.images.get(step)
        if path is None or not path.is_file():
            return None
        with Image.open(path, formats=("JPEG",)) as opened:
            return opened.convert("RGB")

    def forget(self) -> None:
        """Remove what is kept of the images."""
        discard(*self.images.values())

    # What it says

    def snapshot(self) -> dict[str, Any]:
        """Where the run is, JSON-ready, in some 20 kB at most; of two, the one with the later
        `moment` is newer.
        """
        with self.lock:
            return self.shown()

    def shown(self) -> dict[str, Any]:
        """The same, for whoever has the lock."""
        losses = self.state.losses[: self.step] if self.state else []
        start = self.embedding.initializer if self.embedding.has_origin else ""
        return {
            "moment": next(moments),
            "run": self.run,
            "node": self.node_id,
            "workflow": self.workflow,
            "word": self.embedding.placeholder,
            "initializer": start,
            "phase": self.phase,
            "why": self.why,
            "step": self.step,
            "steps": self.steps,
            "first": self.first or 0,
            "pace": rounded(self.pace),
            "share": None if self.reached is None else rounded(self.reached),
            "best": self.best,
            "stored": self.stored,
            "stored_as": self.stored_as,
            "losses": downsampled_means(losses, MOST_POINTS),
            "validations": shares(self.state, self.validations, MOST_POINTS) if self.state else [],
            "nearest": self.near,
            "images": {str(step): path.name for step, path in sorted(self.images.items())},
            "kept": sorted(self.words),
            "saved": {str(step): name for step, name in self.saved.items()},
            "notes": self.notes,
            "report": self.report,
            "asked": self.asked(),
            "missed": self.missed,
            "line": self.line(),
        }

    def line(self) -> str:
        """Where it is in one line, for a console."""
        if self.loss is None or self.state is None:
            return self.phase
        share = "" if self.reached is None else f"validation {100 - self.reached:.1f} %, "
        left = clock((self.steps - self.step) * self.pace)
        return (
            f"step {self.step}/{self.steps}, loss {self.loss:.4f}, {share}{self.pace:.2f} s/step, "
            f"{left} left"
        )


def shortened(text: str, most: int) -> str:
    """A text of at most so many letters, as JSON can carry it."""
    return encodable(text if len(text) <= most else f"{text[: most - 3]}...")
