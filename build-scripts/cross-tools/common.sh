# shellcheck shell=bash
# Shared by cross, check-targets, swift-test and apple: paths, messages, and what is installed.

WEFT_CROSS_DIR=${WEFT_CROSS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/weft/cross}
WEFT_CROSS_TOOLCHAIN=${WEFT_CROSS_TOOLCHAIN:-nightly}
export WEFT_CROSS_DIR WEFT_CROSS_TOOLCHAIN

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034
repository=${scripts%/*} tools=$scripts/cross-tools
program=${0##*/}

say() { printf '%s: %s\n' "$program" "$*" >&2; }

die() {
    say "$*"
    exit 1
}

need_command() {
    command -v "$1" >/dev/null || die "needs $1${2:+ ($2)}"
}

# A part is installed when its stamp exists; the stamp holds the version.
stamp_of() { printf '%s/%s/.installed' "$WEFT_CROSS_DIR" "$1"; }

has_part() { [[ -f $(stamp_of "$1") ]]; }

# The version of the toolchain that may build the standard library from source, or nothing.
source_toolchain_version() {
    rustc "+$WEFT_CROSS_TOOLCHAIN" --version 2>/dev/null | cut -d' ' -f2
}

# Whether the sources of the standard library are there and of that toolchain's minor version.
has_fitting_rust_src() {
    local have stamp
    has_part rust-src || return 1
    have=$(source_toolchain_version) stamp=$(<"$(stamp_of rust-src)")
    [[ -n $have && ${have%.*} == "${stamp%.*}" ]]
}

# The command, as an array named swift_command, that runs a program of Swift in the current folder: the machine's own where
# there is one, else the one that 'cross swift' unpacked, in a mount namespace whose root folder is its own.
use_swift() {
    local name
    local -a namespace=(unshare --mount) keep=()
    if command -v swift >/dev/null; then
        swift_command=()
        return
    fi
    has_part swift || return 1
    ((EUID == 0)) || namespace=(unshare --user --map-root-user --mount)
    mkdir -p "$WEFT_CROSS_DIR/swift-home"
    while read -r name; do
        case $name in WEFT_* | SWIFT* | LD_LIBRARY_PATH | TERM | RUST_*) keep+=("$name=${!name}") ;; esac
    done < <(compgen -e)
    # shellcheck disable=SC2034
    swift_command=("${namespace[@]}" "$tools/swift-root" "$WEFT_CROSS_DIR/swift/root" "$PWD"
        env -i PATH=/usr/libexec/swift/bin:/usr/bin HOME="$WEFT_CROSS_DIR/swift-home" LANG=C.UTF-8 "${keep[@]}")
}
