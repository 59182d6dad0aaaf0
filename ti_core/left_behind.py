"""Files and folders that nobody put there on purpose: hidden ones, and those that systems and
programs leave behind. The same rule holds for folders of images and of embeddings.
"""

import unicodedata

# What systems, programs and network drives leave; names that begin with a dot are never meant.
LEFT_BEHIND = frozenset(
    (
        *("__macosx", "icon\r", "network trash folder", "temporary items", "desktop folder"),
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "zbthumbnail.info"),
        *("$recycle.bin", "recycler", "recycled", "system volume information", "$extend"),
        *("lost+found", "lost.dir", "picasa.ini", "thevolumesettingsfolder"),
        *("@eadir", "@tmp", "@recycle", "@sharebin", "@recently-snapshot", "#recycle"),
        *("#snapshot", "__pycache__", "node_modules"),
    )
)
LEFT_BEHIND_ENDS = ("@synoeastream", "@synoresource")
LEFT_BEHIND_STARTS = (".", "~$")


def compared(name: str) -> str:
    """The form in which names are compared: without case, and with accents encoded in one way (a
    Mac writes them as separate characters).
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def passed_over(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or was left by a system or a program."""
    plain = compared(name)
    return (
        plain in LEFT_BEHIND
        or plain.startswith(LEFT_BEHIND_STARTS)
        or plain.endswith(LEFT_BEHIND_ENDS)
    )
