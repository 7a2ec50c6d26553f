#!/usr/bin/env bash
# Changes an image by hand: enters a VM of it, and makes a new image of what became of its root.
# It only types commands of banger's, as a person would: 'banger image build --from' does not use
# it, and is the better way wherever the changes can be written down.
set -euo pipefail

usage='usage: scripts/customize.sh IMAGE NAME [COMMAND]
  IMAGE    the image to begin with
  NAME     the new image
  COMMAND  what to run in the VM; without it, you get a shell, whose end goes on

What is put into /root is on the work disk, and not in the new image.
BANGER names another program than the banger on PATH.'
if [[ ${1-} == -h || ${1-} == --help ]]; then
    printf '%s\n' "$usage"
    exit
fi
if (($# < 2 || $# > 3)); then
    printf '%s\n' "$usage" >&2
    exit 2
fi
banger=${BANGER:-banger}
image=$1 name=$2 vm=customize-$(od -An -N4 -tx4 /dev/urandom | tr -d " ")

finish() {
    local status=$?
    "$banger" vm delete --yes "$vm" >/dev/null 2>&1 || true
    exit "$status"
}
trap finish EXIT

"$banger" vm create "$vm" --image "$image" --wait ssh
if (($# == 3)); then
    "$banger" vm exec "$vm" -- "$3"
else
    # 255 is ssh's own (ssh(1)): nobody has been in.
    "$banger" vm ssh "$vm" || { status=$?; ((status != 255)) || exit "$status"; }
fi
"$banger" vm stop "$vm"
"$banger" image promote --from-vm "$vm" --name "$name"
