#!/usr/bin/env bash
# Runs the tests in .venv, after installing the project and the test tools into it. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")"

.ci/install test
exec .venv/bin/pytest "$@"
