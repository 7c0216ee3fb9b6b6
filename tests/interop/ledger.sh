#!/bin/sh
# What chartmesh says of its ledgers, and what a verifier says that shares no code with it: on real ledgers with every kind of verdict, and on tampered copies.
# Needs: python3 with requirements.txt ($PYTHON), the program ($CHARTMESH); with node, zstd and npm ci in this directory, a document is opened as well.
set -eu
export PYTHONDONTWRITEBYTECODE=1
here=$(cd "$(dirname "$0")" && pwd)
program=${CHARTMESH:-"$here/../../target/debug/chartmesh"}
python=${PYTHON:-python3}
work=$(mktemp -d)
running=
finish() {
    for pid in $running; do kill "$pid" 2>/dev/null || true; done
    for pid in $running; do wait "$pid" || true; done
    rm -rf "$work"
}
trap finish EXIT

on() { # HOME ARGUMENTS...
    home=$1
    shift
    env -i HOME="$work/$home" PATH="$PATH" TMPDIR="$work" "$program" --home "$work/$home" "$@"
}
field() { "$python" -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
fail() {
    echo "$*" >&2
    exit 1
}
until_so() { # COMMAND that asks a node, which takes its time
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || fail "not in time: $*"
    done
}
serve() { # HOME
    rm -f "$work/$1.ready"
    mkfifo "$work/$1.ready"
    HOME="$work/$1" "$program" --home "$work/$1" --json serve --listen 127.0.0.1:0 >"$work/$1.ready" 2>"$work/$1.said" &
    eval "pid_$1=$!"
    running="$running $!"
    read -r _ <"$work/$1.ready" || fail "$1 does not serve: $(cat "$work/$1.said")"
}
stop() { # HOME
    eval "pid=\$pid_$1"
    kill "$pid"
    wait "$pid" || fail "$1 did not end well: $(cat "$work/$1.said")"
    running=$(for other in $running; do [ "$other" = "$pid" ] || echo "$other"; done)
}
observation() { # ID
    printf '{"resourceType":"Observation","id":"%s","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"718-7"}]},"subject":{"reference":"Patient/made-up"},"effectiveDateTime":"2024-01-02","valueQuantity":{"value":7.10}}' "$1" >"$work/$1.json"
    echo "$work/$1.json"
}
meet() { # HOME OTHER
    on "$1" peer add "$(on "$2" --json card | field ticket)" --alias "$2" >/dev/null
}

# Exports a home's ledger; verifier and program must agree on every entry and on the whole.
agree() { # HOME NAME CODE
    on "$1" ledger export "$work/$2.cbor" >/dev/null
    on "$1" --json ledger log >"$work/$2.log"
    both "$work/$2.cbor" "$3"
    verdicts=$("$python" "$here/compare_verdicts.py" "$work/verified" "$work/$2.log" "$work/ours") || fail "$2: other verdicts than those of chartmesh"
    echo "ok: $2: $verdicts"
}
both() { # FILE CODE
    theirs=0
    "$python" "$here/verify_ledger.py" "$1" >"$work/verified" || theirs=$?
    ours=0
    "$program" --json ledger verify "$1" >"$work/ours" 2>&1 || ours=$?
    [ "$theirs" = "$2" ] && [ "$ours" = "$2" ] || fail "$1: verifier $theirs, chartmesh $ours, expected $2
$(cut -c1-400 "$work/verified")
$(cut -c1-400 "$work/ours")"
}

on patient init patient --name patient --no-passphrase --recovery-file "$work/words" >/dev/null
for name in clinic lab; do on $name init organization --name $name --no-passphrase >/dev/null; done
on keeper init custodian --name keeper --no-passphrase >/dev/null
printf '{"resourceType":"Condition","id":"low","code":{"coding":[{"system":"http://hl7.org/fhir/sid/icd-10-cm","code":"F32.1"}]},"subject":{"reference":"Patient/made-up"}}' >"$work/low.json"
on patient import "$work/low.json" "$(observation first)" >/dev/null

for name in keeper clinic lab; do
    serve $name
    meet patient $name
done
on patient consent grant keeper --custodian >/dev/null
grant=$(on patient --json consent grant clinic --write --except mental-health | field grant)
on patient consent grant lab --write --read general/results >/dev/null
on patient sync >/dev/null
for name in clinic lab; do until_so on $name records show Observation/first; done
on clinic import --for patient "$(observation by-clinic)" >/dev/null
on patient sync >/dev/null
agree patient before-revocation 0

# Two writers do not hear of the revocation: one is revoked, what it writes is void; the other writes to an epoch that is superseded.
stop clinic
stop lab
on patient consent revoke "$grant" --reason moved >/dev/null
on clinic import --for patient "$(observation void)" >/dev/null
on lab import --for patient "$(observation stale)" >/dev/null
serve clinic
serve lab
seen() { on patient sync && on patient --json ledger log | grep -q "$1"; }
until_so seen 'confirms'
until_so seen 'void: fenced'
until_so seen '"stale"'
agree patient revoked 0
agree clinic revoked-party 0
agree keeper blind 0

# A document of that home opens with another implementation of age.
if [ -d "$here/node_modules" ] && command -v node >/dev/null && command -v zstd >/dev/null; then
    document=$(on patient --json records list | "$python" -c 'import json, sys; print(next(record["document"] for record in json.load(sys.stdin) if record["id"] == "first"))')
    on patient records sealed "$document" --out "$work/document.age" >/dev/null
    on patient key export --out "$work/identities" >/dev/null
    node "$here/age.mjs" open "$work/document.age" "$work/identities" | zstd -qd | grep -qF "$(cat "$work/first.json")"
    echo "ok: a document, opened with age-encryption"
else
    echo "skipped: opening a document (no node_modules or zstd)"
fi

# The same device twice, restored from a backup: a fork. Then the words end its authority.
cp -a "$work/patient" "$work/restored"
on patient import "$(observation one)" >/dev/null
on patient sync >/dev/null
on restored import "$(observation other)" >/dev/null
on restored sync >/dev/null || true
agree keeper forked 1
on recovered recover --words-file "$work/words" --from "$(on keeper --json card | field ticket)" --no-passphrase >/dev/null
agree recovered recovered 1

for maker in tamper forge; do
    case $maker in
        tamper) "$python" "$here/tamper_ledger.py" "$work/revoked.cbor" "$work/tamper" ;;
        forge) "$python" "$here/forge_ledger.py" "$work/revoked.cbor" "$work/patient" "$work/clinic" "$work/forge" ;;
    esac
    count=0
    for copy in "$work/$maker"/*; do
        case ${copy##*/} in
            REFUSED-*) both "$copy" 1 ;;
            ACCEPTED-*) both "$copy" 0 ;;
        esac
        count=$((count + 1))
    done
    echo "ok: $maker: $count changed ledgers, each refused or accepted by both"
done
