"""Texts without the secrets in them: nothing that is written down carries a password."""

import re

SECRET_NAME = r"(?:passwd|password|secret(?:_?key)?|token|api_?key|access_?key|credential)s?"
"""Pattern of what a secret is called, at the end of a name; upper or lower case."""

# As SQLAlchemy reads it: a user's name ends at a slash, a password at nothing but its @. So a
# path with an @ behind host:port is taken for a password, rather than a password for a path.
_USERINFO = re.compile(r"(?:(?<=[:\s'\"=]//)|(?<=^//))[^\s/:]*(?::\S*)?@")
# Quotes and brackets at the end are those of the text around the address.
_SECRET_QUERY = re.compile(
    rf"([?&][^=&\s]*{SECRET_NAME}[^=&\s]*=)[^&\s]*?(?=['\"]?[,;)\]}}]{{0,3}}(?:[&\s]|\Z))",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """``text`` without the credentials of any URI in it; if in doubt, too much goes.

    ``http://user:pw@host/x`` becomes ``http://host/x``; ``?password=pw`` loses its value. A
    user and password go up to the last @ before white space, with whatever lies between.
    """
    return _USERINFO.sub("", _SECRET_QUERY.sub(r"\1***", text))


def has_secret(text: str) -> bool:
    """Whether ``redact`` would take something out."""
    return redact(text) != text
