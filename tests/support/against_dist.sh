#!/usr/bin/env bash
# Unpack the environment of `make dist-env` in another folder, and run quick tests with its packages.
# Spark, and what only tests need, come from .venv, behind the environment's own.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
away=$(mktemp -d)
trap 'rm -rf "$away"' EXIT
mkdir "$away/environment"
tar -xzf "$root"/dist/gristmill-*-env.tar.gz -C "$away/environment"
cp -r "$root/tests" "$root/benchmarks" "$root/conf" "$root/pyproject.toml" "$away"
cd "$away"
python=environment/bin/python
"$root/.venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
  >"$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/behind.pth"
"$python" -c 'import chains, sys; assert chains.__file__.startswith(sys.prefix), chains.__file__'
environment/bin/gristmill-batch --help >/dev/null
"$python" -m pytest -q -m "not spark and not process" tests/udfs tests/chains/test_*.py \
  tests/jobs/test_settings.py tests/jobs/test_cli.py tests/jobs/test_entry_points.py
