"""What was placed gets another place in the output: after a decision, or after somebody's hand."""

import filecmp
import os
import shutil
from contextlib import suppress

from dicomsort.outcome import Action, Placement
from dicomsort.sorting.copies import copy_file
from dicomsort.sorting.place import make_folder, relative
from dicomsort.system.atomic import publish, temporary_for


def move(source: str, old: str, new: str, placement: Placement) -> None:
    """Give a placed file another place in the output; a symbolic link keeps its kind, relative or not.

    What is there is never replaced. What a killed run has begun is finished: the file may be in both places,
    or in the new one only. Raises FileExistsError if another file is there, or any other OSError.
    """
    make_folder(os.path.dirname(new))
    try:
        if placement.action == Action.SYMLINK:
            os.symlink(_link_text(source, old, new), new)
        else:
            publish(old, new)
    except FileExistsError:
        if not _is_same_placed(old, new):
            raise
    with suppress(FileNotFoundError):
        os.unlink(old)
    with suppress(OSError):
        os.removedirs(os.path.dirname(old))


def also_at(source: str, old: str, new: str, placement: Placement) -> None:
    """Give a placed file a second place in the output, so that one of them always has its row.

    What is there is never replaced. Raises FileExistsError if another file is there, or any other OSError.
    """
    make_folder(os.path.dirname(new))
    try:
        if placement.action == Action.SYMLINK:
            os.symlink(_link_text(source, old, new), new)
        else:
            _second_name(old, new)
    except FileExistsError:
        if not is_same_file(old, new):
            raise


def _second_name(old: str, new: str) -> None:
    """Give a file a second name or, where there are no hard links, a copy."""
    try:
        os.link(old, new)
    except FileExistsError:
        raise
    except OSError:
        temporary = temporary_for(new)
        try:
            copy_file(old, temporary)
            shutil.copystat(old, temporary)
            publish(temporary, new)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)


def give_up(place: str, other: str) -> None:
    """Remove one of two places of a file, with the folders that become empty; not if they differ."""
    with suppress(OSError):
        if is_same_file(place, other):
            os.unlink(place)
            os.removedirs(os.path.dirname(place))


def end_move(old: str, new: str) -> None:
    """Remove the old name of a file that a killed run was moving, if both names are there and of one file."""
    with suppress(OSError):
        if _is_same_placed(old, new):
            os.unlink(old)
            os.removedirs(os.path.dirname(old))


def is_same_file(one: str, other: str) -> bool:
    """Return whether two names in the output are of one placed file. Raises OSError."""
    return _is_same_placed(one, other) or (
        not (os.path.islink(one) or os.path.islink(other)) and filecmp.cmp(one, other, shallow=False)
    )


def is_same_link(source: str, old: str, new: str) -> bool:
    """Return whether `new` is the symbolic link to a source that was placed at `old`."""
    try:
        return os.readlink(new) in (source, relative(source, old), relative(source, new))
    except OSError:
        return False


def make_link(source: str, old: str, new: str) -> None:
    """Let a relative link that somebody has moved from `old` to `new` lead to its source again."""
    text = relative(source, new)
    if os.readlink(new) == relative(source, old) != text:
        temporary = temporary_for(new)
        os.symlink(text, temporary)
        os.replace(temporary, new)


def _link_text(source: str, old: str, new: str) -> str:
    return source if os.path.isabs(os.readlink(old)) else relative(source, new)


def _is_same_placed(old: str, new: str) -> bool:
    """Return whether a move was cut short between the new name and the end of the old one."""
    if os.path.islink(old) or os.path.islink(new):
        return os.path.islink(old) and os.path.islink(new) and os.path.realpath(old) == os.path.realpath(new)
    return os.path.samefile(old, new)
