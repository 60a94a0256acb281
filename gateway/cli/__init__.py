"""The command line: `tercet --help`.

Where the gateway is: `--url`, TERCET_URL, else http://127.0.0.1:8080. With which key: TERCET_API_KEY, else
the nearest `.tercet/api-key` (of `make up`) or `.tercet/embedded/api-key` (of `make run`) upwards of the
working directory; TERCET_KEY_FILE names another.

With `--json` a command writes one JSON document to stdout and nothing else; progress and errors go to stderr.

Exit codes
    0    done
    1    done, but not well: images failed or were refused, the job was cancelled, or the gateway failed
    2    the command line is wrong
    3    no gateway answers
    4    no valid key, or the key may not do this
    5    there is no such thing
    6    the request is refused as it is: wrong input, too large, a conflict, nothing to submit
    7    not now: the gateway is overloaded, or the time given to wait is over
    8    an answer or a file is not what was promised, or cannot be written
    130  interrupted
"""

from __future__ import annotations


def main() -> None:
    """Entry point of `tercet`."""
    from gateway.cli.app import app

    app(prog_name="tercet")
