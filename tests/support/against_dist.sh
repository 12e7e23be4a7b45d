#!/usr/bin/env bash
# Unpack the environment of `make dist-env` in another folder, and run tests with its packages: those
# that are named, or else a few quick ones. Spark, and what only tests need, come from .venv, behind
# the environment's own.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
away=$(mktemp -d)
trap 'rm -rf "$away"' EXIT
mkdir "$away/environment"
tar -xzf "$root"/dist/gristmill-*-env.tar.gz -C "$away/environment"
cp -r "$root/tests" "$root/benchmarks" "$root/conf" "$root/pyproject.toml" "$away"
cd "$away"
unset PYTHONPATH
python=environment/bin/python
"$root/.venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
  >"$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/behind.pth"
"$python" -c 'import chains, sys; assert chains.__file__.startswith(sys.prefix), chains.__file__'
environment/bin/gristmill-batch --help >/dev/null
if [ $# -eq 0 ]; then
  set -- -m "not spark and not process" tests/jobs/test_{cli,entry_points,settings}.py \
    tests/chains/test_{asking,parsers,templates}.py tests/udfs/test_schema.py
fi
"$python" -m pytest -q "$@"
