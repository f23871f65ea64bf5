"""Fetch public tables as they are, and see that they can be read before they get their names."""

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from kerastune.atomic import atomic_file
from kerastune.dataset.reading import parse_table
from kerastune.dataset.table import build_dataset
from kerastune.errors import ConfigError, DataError
from kerastune.task import get_task

TARR_URL = "https://raw.githubusercontent.com/tykimos/tykimos.github.io/master/warehouse/dataset"

# File name -> whether its labels are gold; the sample's are all 0, to be filled in.
_TARR_FILES = {"tarr_train.txt": True, "tarr_sample_submit.txt": False}


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


def _fetch(url: str, attempts: int, timeout_s: float, wait_s: float) -> bytes:
    for attempt in range(1, attempts + 1):
        try:
            with urllib.request.urlopen(url, timeout=timeout_s) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            reason = f"the server answered {error.code} {error.reason}"
            if error.code < 500:
                break
        except http.client.IncompleteRead as error:
            reason = f"it broke off after {len(error.partial)} bytes, {error.expected} more were announced"
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error))
        if attempt < attempts:
            time.sleep(wait_s * 2 ** (attempt - 1))
    raise DataError(
        f"{url}: cannot be fetched: {reason} (tried {attempt} of {attempts} times); "
        "see to the network, or fetch it elsewhere and give its path with --train or --input"
    )
