#!/bin/sh
# SPDX-License-Identifier: MIT
# check-layers.sh: each folder of src includes only what its layer may, and a feature of app only those listed above it in app.c.
set -u
cd "${PARLEY_SRCDIR:-$(dirname "$0")/..}/src" || exit 1
bad=0

# layer: the layers it may include beside its own
while read -r layer allowed; do
	pattern=$(echo "$layer $allowed" | tr ' ' '|')
	wrong=$(grep -nE '^#include "' "$layer"/*.[ch] | grep -vE "#include \"($pattern)/")
	test -z "$wrong" || { echo "$wrong"; bad=1; }
done <<END
base
db base
cache base
net base
http base
llm base net
app base db cache net llm http
main base db cache net llm http app
END

private=$(grep -nE '#include "[a-z]+/[a-z_]*_private\.h"' ./*/*.[ch] | awk -F'[/:"]' '{ split($0, a, "#include \""); split(a[2], p, "/"); if ($2 != p[1]) print }')
test -z "$private" || { echo "$private"; bad=1; }

# Features in the order of the list in app.c; a feature's operations may not include a feature further down.
order=$(sed -n '/app_features\[\] = {/,/};/p' app/app.c | grep -oE '&[a-z_]+_feature' | sed 's/&//; s/_feature//')
for feature in $order; do
	below=$(echo "$order" | sed "1,/^$feature\$/d")
	for file in "app/$feature.c" "app/$feature.h"; do
		for other in $below; do
			grep -Hn "#include \"app/$other.h\"" "$file" && bad=1
		done
	done
done
exit $bad
