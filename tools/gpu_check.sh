#!/bin/sh
# tools/gpu_check.py with this checkout's Python.
tools=$(dirname "$0")
exec "$tools/../.venv/bin/python" "$tools/gpu_check.py" "$@"
