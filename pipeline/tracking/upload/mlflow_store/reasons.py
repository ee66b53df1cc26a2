"""What failed, in words for a person: MLflow, requests and urllib3 wrap the cause three times."""

import re
from http import HTTPStatus

from pipeline.redact import redact

_MOST_CHARACTERS = 300

_ERRNO = re.compile(r"\[Errno -?\d+\] ([\w ]+)|Error\(\d+, '([\w ]+)'\)")
_TLS = re.compile(r"\[SSL: (\w+)\] ([^(']*\w)")
_TIMEOUT = re.compile(r"timed out", re.IGNORECASE)
_STATUS = re.compile(r"error code (\d{3}) != 200|too many (\d{3}) error responses")
_NO_JSON = "response body was not in a valid JSON format"

_TLS_REMEDIES = {
    "CERTIFICATE_VERIFY_FAILED": "MLFLOW_TRACKING_SERVER_CERT_PATH names a certificate to trust",
    "WRONG_VERSION_NUMBER": "a server without TLS is written http://",
}
_STATUS_REMEDIES = {
    401: "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, say who "
    "asks",
    403: "this user may not do that there",
    404: "this is no MLflow server, or an old one",
}


def reason(text: str) -> str:
    """One line that says what an error's ``text`` means, without credentials."""
    if cause := _TLS.search(text):
        remedy = _TLS_REMEDIES.get(cause[1])
        return f"no secure connection ({cause[2]})" + (f"; {remedy}" if remedy else "")
    if cause := _ERRNO.search(text):
        return f"does not answer ({cause[1] or cause[2]})"
    if _TIMEOUT.search(text):
        return "does not answer in time"
    if found := _STATUS.search(text):
        return _of_status(int(found[1] or found[2]))
    if _NO_JSON in text:
        return "answers with a page that is no data; it is no MLflow server, or asks for a login"
    return cut(redact(text).splitlines()[0], _MOST_CHARACTERS)


def cut(text: str, length: int) -> str:
    """``text``, its end replaced by an ellipsis where it is longer than ``length`` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _of_status(status: int) -> str:
    known = {entry.value: entry.phrase for entry in HTTPStatus}
    remedy = _STATUS_REMEDIES.get(status)
    return f"answers {status} {known.get(status, '')}".rstrip() + (f"; {remedy}" if remedy else "")
