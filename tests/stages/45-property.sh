# SPDX-License-Identifier: MIT
# property: a client that makes its requests from the OpenAPI document and believes every word of it.
# shellcheck shell=sh disable=SC2154
arguments=
test "$long" = no || arguments=--long
(cd "$root/tests/property" && npm ci --no-audit --no-fund) || exit 1
# shellcheck disable=SC2086 # one word or none
run_tap sh "$root/tests/property/property.sh" $arguments
