#!/usr/bin/env bash
# The whole pipeline: bash run.sh [TARGET] [--set KEY=VALUE ...]
#   TARGET  a competition's folder (input/NAME, any path) or address (s3://BUCKET/NAME, https://HOST/NAME.zip), or a
#           config (configs/NAME.toml); none: the demo, scikit-learn's handwritten digits
# The tests: bash run.sh test [pytest arguments]
# The first call makes .venv; a set-up or a run that was stopped goes on where it was.
set -u

started_in=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1

child=
stopped=0
trap 'stopped=143; [ -n "$child" ] && kill -TERM "$child" 2>/dev/null' TERM
# Bash lets background jobs ignore SIGINT, so Ctrl-C is passed on as SIGTERM.
trap 'stopped=130; [ -n "$child" ] && kill -TERM "$child" 2>/dev/null' INT

# Run a command, pass signals on to it, and end with its status where it fails.
step() {
    "$@" <&0 &
    child=$!
    # A signal that came before there was a child.
    [ "$stopped" -eq 0 ] || kill -TERM "$child" 2>/dev/null
    wait "$child"
    status=$?
    if [ "$stopped" -ne 0 ]; then
        wait "$child" 2>/dev/null
        echo "stopped; the same command goes on from here" >&2
        exit "$stopped"
    fi
    child=
    [ "$status" -eq 0 ] || exit "$status"
}

# Whether a python has every package that is needed: the run-time ones and those of an extra.
complete() {
    command -v "$1" >/dev/null 2>&1 && "$1" -m pipeline.environment ${2:+"$2"} 2>/dev/null
}

set_up() {
    extra=${1:-}
    stamp=$(cksum <pyproject.toml)
    active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
    # Our own .venv is judged by its stamp: it may be half made, or of other pins.
    if [ -n "$active" ] && [ "$active" != "$PWD/.venv" ] && complete "$active/bin/python" "$extra"; then
        python=$active/bin/python
    elif [ "$(cat .venv/ready 2>/dev/null)" = "$stamp" ]; then
        python=.venv/bin/python
    elif [ ! -d .venv ] && complete python3 "$extra"; then
        python=python3
    else
        base=
        for candidate in python3 python3.13 python3.12 python3.11; do
            if command -v "$candidate" >/dev/null 2>&1 &&
                "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
                base=$candidate
                break
            fi
        done
        if [ -z "$base" ]; then
            echo "run.sh: python 3.11 or newer with venv must be installed. Got: $(python3 --version 2>&1)" >&2
            exit 1
        fi
        step "$base" -m pipeline.environment make "$stamp"
        python=.venv/bin/python
    fi
}

case "${1:-}" in
-h | --help)
    sed -n '2,6s/^# \{0,1\}//p' run.sh
    exit 0
    ;;
test)
    shift
    set_up test
    step "$python" -m ruff check .
    step "$python" -m ruff format --check .
    step "$python" -m mypy
    step "$python" -m pytest -n 2 --dist worksteal "$@"
    exit 0
    ;;
esac

target=configs/digits.toml
demo=1
case "${1:-}" in
"" | -*) ;;
*)
    target=$1
    demo=
    shift
    if [ ! -e "$target" ] && [ -e "$started_in/$target" ]; then
        target=$started_in/$target
    fi
    ;;
esac

set_up
if [ -n "$demo" ]; then
    step "$python" -m pipeline.practice digits
fi
# The stages in their order, each a module of its own; one process, so that torch and timm are imported once.
step "$python" -m pipeline detect prepare folds probe train infer ensemble report --config "$target" "$@"
