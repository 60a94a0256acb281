#!/bin/sh
# Find Python 3.11, on Debian install it where it is missing, and hand over to setup.py, which does the rest.
set -eu
here=$(dirname "$0")

find_python() {
    for candidate in "${TERCET_PYTHON:-}" python3.11 python3; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null
        then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

if ! python=$(find_python); then
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        echo "setup: installing python3.11 (Debian package)"
        { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
            python3.11 >/dev/null; } || true
    fi
    python=$(find_python) || {
        echo "error: Tercet needs Python 3.11 and found none. Install it, or set TERCET_PYTHON to its path." >&2
        exit 1
    }
fi
exec "$python" "$here/setup.py" "$@"
