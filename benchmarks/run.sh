#!/bin/sh
# Make benchmarks/.venv (the project's locks and the peers'), then run the benchmarks in it.
# The peers' lock is made by
#   uv pip compile benchmarks/requirements-peers.in --constraint requirements.lock \
#     --constraint requirements-torch.lock --universal --generate-hashes --no-annotate --no-header \
#     --no-emit-index-url --no-emit-find-links --output-file benchmarks/requirements-peers.lock
set -eu
cd "$(dirname "$0")/.."
venv=benchmarks/.venv
peers=benchmarks/requirements-peers.lock
stamp=$venv/.set-up
locks=$(cat requirements-uv.lock requirements.lock requirements-torch.lock $peers pyproject.toml | sha256sum)

if [ "$locks" != "$(cat $stamp 2>/dev/null)" ]; then
  test -d $venv || "${PYTHON:-python3}" -m venv $venv
  $venv/bin/pip install --quiet --require-hashes --requirement requirements-uv.lock
  $venv/bin/uv pip install --system-certs --quiet --compile-bytecode --python $venv/bin/python --no-deps --require-hashes \
    --requirement requirements.lock --requirement requirements-torch.lock --requirement $peers
  $venv/bin/uv pip install --system-certs --quiet --python $venv/bin/python --no-deps --editable .
  $venv/bin/gristmill setup  # the archive of loaded classes is of this environment
  echo "$locks" > $stamp
fi
exec $venv/bin/python benchmarks/run.py "$@"
