# SPDX-License-Identifier: MIT
# unit: `make check`: the layer check, unit tests, the API on in-memory SQLite.
# shellcheck shell=sh disable=SC2046,SC2154
run_programs gcc $(test_programs gcc)
