#!/bin/sh
# Seals with chartmesh and opens with age-encryption (npm), and the other way round; and opens a document with `age -d | zstd -d`.
# Needs: npm ci in this directory, cargo build -p chartmesh-sealing --example seal, zstd.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
ours=${OURS:-"$here/../../target/debug/examples/seal"}
theirs="node $here/age.mjs"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

printf '{"resourceType":"Bundle","type":"collection","entry":[]}' >"$work/small"
head -c 200000 /dev/urandom >"$work/large"
"$ours" keygen >"$work/ours.key"
$theirs keygen >"$work/theirs.key"

for key in ours theirs; do
    "$ours" recipient "$work/$key.key" >"$work/$key.pub"
    $theirs recipient "$work/$key.key" | cmp - "$work/$key.pub"
    for file in small large; do
        "$ours" seal "$work/$file" "$work/$key.pub" >"$work/sealed"
        $theirs open "$work/sealed" "$work/$key.key" | cmp - "$work/$file"
        $theirs seal "$work/$file" "$work/$key.pub" >"$work/sealed"
        "$ours" open "$work/sealed" "$work/$key.key" | cmp - "$work/$file"
        "$ours" document "$work/$file" "$work/$key.pub" >"$work/sealed"
        $theirs open "$work/sealed" "$work/$key.key" | zstd -qd | cmp - "$work/$file"
        echo "ok: $file, identity made by $key"
    done
done
