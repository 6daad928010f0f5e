#!/usr/bin/env bash
# The lowest or the highest versions that pyproject.toml allows, together, in a fresh environment: every module is
# imported, and tests that use most of what the package asks of others are run.
#
#     tests/versions.sh lowest|highest FOLDER [OPTION…]
#
# FOLDER is made for the environment and may be removed afterwards (2 GB without CUDA). What follows is given to
# `uv pip install`, such as `--override FILE` with a line `torch==2.13.0+cpu`, which spares the CUDA libraries.
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:?lowest or highest} in
  lowest) resolution=lowest-direct ;;
  highest) resolution=highest ;;
  *) echo "lowest or highest, not '$1'" >&2 && exit 2 ;;
esac
folder=${2:?where to make the environment}
shift 2
python3 -m venv "$folder"
"$folder/bin/python" -m pip install -q uv
"$folder/bin/python" -m uv pip install -q --python "$folder/bin/python" --resolution "$resolution" "$@" -e '.[test]'
"$folder/bin/python" tests/import_all.py
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$folder/bin/python" -m pytest -n 0 \
  tests/store/test_parts.py tests/store/test_rows.py tests/trainers/test_tokens.py tests/prompting/test_prompts.py \
  tests/stages/test_rl_stage.py tests/stages/test_select.py tests/cli/test_cli.py tests/viewer/test_viewer_api.py \
  tests/recipe/test_golden_fingerprints.py
