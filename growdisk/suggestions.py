"""What was probably meant by a word that is not known."""

from __future__ import annotations

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, or ""."""
    from difflib import get_close_matches  # only mistakes need it

    return next(iter(get_close_matches(word, list(known), n=1, cutoff=0.6)), "")


def suggestion(word: str, known: Iterable[str], otherwise: str) -> str:
    """A hint: to write the known word that was probably meant, or `otherwise`."""
    near = nearest(word, known)
    return f"write {near}" if near else otherwise
