"""What an error of reading a text file means, in words that end a message."""


def reason_of(error: Exception) -> str:
    """Return why a table cannot be read: the system's words, or the error's own."""
    if isinstance(error, UnicodeError):
        return "save it as CSV UTF-8"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
