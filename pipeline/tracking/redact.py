"""Texts without the secrets in them: nothing that is written down carries a password."""

import re

# A password may hold an @; the host starts after the last one before the path.
_USERINFO = re.compile(r"(?<=://)[^/\s'\"]*@")
_SECRET_QUERY = re.compile(
    r"([?&][^=&\s]*(?:password|passwd|token|secret|api_?key)[^=&\s]*=)[^&\s'\"]*", re.IGNORECASE
)


def redact(text: str) -> str:
    """``text`` without the credentials of any URI in it.

    ``http://user:pw@host/x`` becomes ``http://host/x``; ``?password=pw`` loses its value.
    """
    return _SECRET_QUERY.sub(r"\1***", _USERINFO.sub("", text))


def has_secret(text: str) -> bool:
    """Whether ``redact`` would take something out."""
    return redact(text) != text
