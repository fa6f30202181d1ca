# Shared by .ci/run and .ci/long: headings with times, the interpreters of this machine, a clean copy of the tree.
# Sourced by bash with `set -euo pipefail`.

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_PROGRESS_BAR=off PYTHONDONTWRITEBYTECODE=1
# pip installs and our own builds must not take anything from the folder where they are started.
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP VIRTUAL_ENV

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/rawsys-ci.XXXXXX")
trap 'status=$?; close_stage "$status"; rm -rf "$work"; exit "$status"' EXIT
exec </dev/null

current="" began=0 times=""

# The stage that runs, by name; the one before it is over, and its time is printed.
stage() {
    close_stage 0
    current=$1 began=$SECONDS
    printf '\n== %s\n' "$current"
}

close_stage() {
    [ -n "$current" ] || return 0
    local word=ok
    [ "$1" = 0 ] || word=FAILED
    printf -- '-- %s: %s, %d s\n' "$current" "$word" $((SECONDS - began))
    times+=$(printf '%5d s  %s' $((SECONDS - began)) "$current")$'\n'
    current=""
}

# Run a command whose output is of interest only when it fails.
quietly() {
    if ! "$@" >"$work/quiet.log" 2>&1; then
        cat "$work/quiet.log"
        printf 'failed: %s\n' "$*"
        return 1
    fi
}

# What is in the tree and not ignored, as a clone would have it, without anything that was built.
copy_tree() {
    local to=$1
    mkdir -p "$to"
    if git -C "$root" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git -C "$root" ls-files -z --cached --others --exclude-standard |
            (cd "$root" && xargs -0 sh -c 'for f; do [ ! -e "$f" ] || printf "%s\0" "$f"; done' sh) |
            tar -C "$root" --null --files-from=- -cf - | tar -xf - -C "$to"
    else
        tar -C "$root" --exclude=./.git --exclude=.venv --exclude=build --exclude=dist --exclude='*.so' --exclude='*.egg-info' \
            --exclude=__pycache__ --exclude=docs/_build -cf - . | tar -xf - -C "$to"
    fi
}

# Prints "MINOR PATH" for an interpreter that can be used here: CPython 3.11 or newer with the GIL, venv and Python.h.
# PATH is the real program, not a script in front of it: tracers and LD_PRELOAD would see that instead.
probe() {
    "$1" - 2>/dev/null <<'PY' || true
import os, sys, sysconfig
import ensurepip, venv
header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
if sys.version_info >= (3, 11) and os.path.exists(header) and not sysconfig.get_config_var("Py_GIL_DISABLED"):
    print(sys.version_info.minor, sys.executable)
PY
}

# All interpreters of this machine, one for each minor version, newest last: on PATH first, then those of pyenv.
interpreters() {
    local candidate
    {
        for candidate in python3 python3.11 python3.12 python3.13 python3.14; do
            probe "$candidate"
        done
        for candidate in "${PYENV_ROOT:-${HOME:-/nonexistent}/.pyenv}"/versions/3.*/bin/python3; do
            [ -x "$candidate" ] && probe "$candidate"
        done
    } | sort -s -n -k1,1 -u
}

# The interpreter of the checks: $PYTHON, else python3 on PATH where that is 3.11 or newer, else the newest that is found.
choose_python() {
    local found
    if [ -n "${PYTHON:-}" ]; then
        found=$(probe "$PYTHON")
        [ -n "$found" ] || { echo "PYTHON=$PYTHON is no CPython >= 3.11 with venv and Python.h" >&2; return 1; }
    else
        found=$(probe python3)
        [ -n "$found" ] || found=$(interpreters | tail -n 1)
        [ -n "$found" ] || { echo "no CPython >= 3.11 with venv and Python.h (Debian: apt install python3-dev python3-venv)" >&2; return 1; }
    fi
    echo "${found#* }"
}

# Tools that some tests use, installed where that is simple; without them those tests skip.
optional_tools() {
    local tool missing=()
    for tool in "$@"; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        (timeout 180 apt-get update -qq && DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -qq -y "${missing[@]}") \
            >/dev/null 2>&1 || echo "could not install ${missing[*]}: tests that need them skip"
    else
        echo "not here: ${missing[*]}; tests that need them skip"
    fi
}

machine() {
    echo "Linux $(uname -r), $(nproc) processors, $(gcc --version | head -n 1)"
    echo "checks run on $("$python" --version), $python"
    interpreters | sed -E 's/^([0-9]+) /found 3.\1: /'
}
