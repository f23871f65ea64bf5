"""Fetch public tables as they are, and see that they can be read before they get their names."""

import http
import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from kerastune.atomic import atomic_file
from kerastune.dataset.reading import parse_table
from kerastune.dataset.table import build_dataset
from kerastune.errors import ConfigError, DataError
from kerastune.task import get_task

TARR_URL = "https://raw.githubusercontent.com/tykimos/tykimos.github.io/master/warehouse/dataset"

# File name -> whether its labels are gold; the sample's are all 0, to be filled in.
_TARR_FILES = {"tarr_train.txt": True, "tarr_sample_submit.txt": False}


#: The most that a table may have; the largest of the public ones has a hundredth of this.
MOST_BYTES = 100_000_000


class PulledFile(NamedTuple):
    """A table that was fetched, and the number of its rows."""

    path: Path
    rows: int


def pull_tarr(
    out_dir: str | Path,
    *,
    base_url: str = TARR_URL,
    attempts: int = 3,
    timeout_s: float = 20.0,
    wait_s: float = 1.0,
) -> list[PulledFile]:
    """Fetch the restaurant reviews `tarr_train.txt` and `tarr_sample_submit.txt`, byte for byte.

    A file is written only when it came whole and reads as a table of `review-sentiment`.

    Args:
        out_dir: The folder to write to; made when missing.
        base_url: The folder they are fetched from.
        attempts: How often each is tried where the connection or the server fails.
        timeout_s: Seconds without an answer until an attempt has failed.
        wait_s: Seconds before the second attempt; twice as long before each further one.

    Returns:
        The files and their rows, in the order train, sample.

    Raises:
        ConfigError: `attempts` is less than 1.
        DataError: A file could not be fetched whole, or is not the table that it should be.
        OutputError: It cannot be written.
    """
    if attempts < 1:
        raise ConfigError(f"attempts: expected 1 or more, received {attempts}")
    task = get_task("review-sentiment")
    pulled = []
    for name, labelled in _TARR_FILES.items():
        path = Path(out_dir) / name
        url = f"{base_url.rstrip('/')}/{name}"
        payload = _fetch(url, attempts, timeout_s, wait_s)
        try:
            data = build_dataset(parse_table(payload, Path(name)), path, task, labelled=labelled)
        except DataError as error:  # the sign-in page of a network, say
            raise DataError(f"{url}: fetched, but not the table it should be: {error}") from error
        with atomic_file(path) as temporary:
            temporary.write_bytes(payload)
        pulled.append(PulledFile(path, len(data)))
    return pulled


class _NeverDowngraded(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but none from TLS to plain text."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Refuse to leave TLS."""
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise OSError(f"it was sent on to {newurl}, which has no TLS")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(url: str, attempts: int, timeout_s: float, wait_s: float) -> bytes:
    """Fetch a file; what broke off is gone on with where the server can, and the file is still the same."""
    if not url.startswith(("https://", "http://")):
        raise DataError(f"{url}: expected an address that begins with https://")
    had, tag = b"", ""
    opener = urllib.request.build_opener(_NeverDowngraded)
    for attempt in range(1, attempts + 1):
        resume = {"Range": f"bytes={len(had)}-", "If-Range": tag} if had and tag else {}
        try:
            with opener.open(urllib.request.Request(url, headers=resume), timeout=timeout_s) as response:
                had = had if response.status == http.HTTPStatus.PARTIAL_CONTENT else b""
                tag, announced = response.headers.get("ETag", ""), response.headers.get("Content-Length")
                part = bytes(response.read(MOST_BYTES + 1 - len(had)))
            had += part
            if len(had) > MOST_BYTES:
                reason = f"it has more than {MOST_BYTES:,} bytes, which no such table has"
                break
            if announced is None or len(part) == int(announced):
                return had
            missing = int(announced) - len(part)
            reason = f"it broke off after {len(had)} bytes, {missing} more were announced"
        except urllib.error.HTTPError as error:
            reason = f"the server answered {error.code} {error.reason}"
            if error.code < 500:
                break
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error))
        if attempt < attempts:
            time.sleep(wait_s * 2 ** (attempt - 1))
    raise DataError(
        f"{url}: cannot be fetched: {reason} (tried {attempt} of {attempts} times); "
        "see to the network, or fetch it elsewhere and give its path with --train or --input"
    )
