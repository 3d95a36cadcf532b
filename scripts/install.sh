#!/bin/sh
# Installs the library, its headers and its pkg-config file, or the driver for pcscd. See --help.
set -eu

usage() {
    cat <<'END'
Usage: scripts/install.sh [--prefix DIR] [--libdir DIR] [--includedir DIR] [--debuginfo]
       scripts/install.sh --real [--prefix DIR] [--libdir DIR] [--debuginfo]
       scripts/install.sh --driver [--prefix DIR] [--libdir DIR] [--dropdir DIR] [--udevdir DIR]
                          [--debuginfo]
       scripts/install.sh --udev [--prefix DIR] [--libdir DIR] [--udevdir DIR]
       scripts/install.sh --uninstall [--prefix DIR] [--libdir DIR] [--real | --driver | --udev]

Installs what `cargo build --release -p pcsc-sys-shim` has built:
  LIBDIR/libpcsclite.so.1.0.0, with the links libpcsclite.so.1 and libpcsclite.so
  LIBDIR/libpcsclite.a
  LIBDIR/pkgconfig/libpcsclite.pc
  INCLUDEDIR/PCSC/{winscard,pcsclite,wintypes,reader,ifdhandler,debuglog}.h

  --prefix DIR      default /usr/local
  --libdir DIR      default PREFIX/lib
  --includedir DIR  default PREFIX/include
  --real            installs LIBDIR/pcsc-rs/libpcsclite_real.so.1 and nothing else: for
                    programs on pcsc-lite 2.3 or newer, whose libpcsclite.so.1 passes
                    every call on to the library that LIBPCSCLITE_DELEGATE names. It has
                    a folder of its own, because ldconfig would otherwise make it
                    everybody's libpcsclite.so.1.
  --driver          installs the driver for pcscd and nothing else, as
                    `cargo build --release -p pcsc-ifd-handler` has built it:
                    DROPDIR/ifd-pcsc-rs.bundle, which pcscd prefers to libccid, and
                    UDEVDIR/70-pcsc-ccid.rules, which gives readers to the user at the
                    seat, the group plugdev, and the user and the group pcscd
  --udev            installs those rules and nothing else: for programs that use the
                    readers without a daemon
  --dropdir DIR     where pcscd looks for drivers; default /usr/lib/pcsc/drivers
  --udevdir DIR     default /etc/udev/rules.d
  --debuginfo       installs the debug information of the shared library too, in a file
                    of its own, where debuggers look for it: .debug/NAME.debug beside it.
                    Installed libraries are stripped.
  --uninstall       removes what an installation with the same LIBDIR has put there
  --help            this text

Environment:
  DESTDIR           put before every path, to build a package
  CARGO_TARGET_DIR  where cargo builds, if not in target/; target/TARGET after
                    cargo build --target TARGET
  OBJCOPY           the objcopy that strips, for another processor's libraries

A file of somebody else, such as the distribution's libpcsclite, is never replaced.
END
}

die() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

# ---- What is asked for ----

prefix=/usr/local
libdir=
includedir=
dropdir=/usr/lib/pcsc/drivers
udevdir=/etc/udev/rules.d
kind=
action=install
debuginfo=
while [ $# -gt 0 ]; do
    option=$1
    shift
    case $option in
        --help | -h) usage; exit 0 ;;
        --real | --driver | --udev)
            [ "${kind:-${option#--}}" = "${option#--}" ] ||
                die "--$kind and $option are two installations: run $0 once for each"
            kind=${option#--}
            continue
            ;;
        --debuginfo) debuginfo=yes; continue ;;
        --uninstall) action=uninstall; continue ;;
        --prefix=* | --libdir=* | --includedir=* | --dropdir=* | --udevdir=*)
            value=${option#*=}
            option=${option%%=*}
            ;;
        --prefix | --libdir | --includedir | --dropdir | --udevdir)
            [ $# -gt 0 ] || die "$option needs a folder"
            value=$1
            shift
            ;;
        *) die "unknown argument $option; see --help" ;;
    esac
    case $value in
        *"
"*) die "$option cannot have a line break in it" ;;
        /*) ;;
        *) die "$option needs an absolute path, not '$value'" ;;
    esac
    case $option in
        --prefix) prefix=${value%/} ;;
        --libdir) libdir=${value%/} ;;
        --includedir) includedir=${value%/} ;;
        --dropdir) dropdir=${value%/} ;;
        --udevdir) udevdir=${value%/} ;;
    esac
done
: "${kind:=library}" "${libdir:=$prefix/lib}" "${includedir:=$prefix/include}" "${DESTDIR:=}" "${OBJCOPY:=objcopy}"

source=$(dirname -- "$(readlink -f -- "$0")")/..
built=${CARGO_TARGET_DIR:-$source/target}/release
own=$libdir/pcsc-rs
# One line for each file ("F path") and each folder ("D path") that this kind of installation has made.
# A file of two kinds is in the manifests of both, and is removed with the last of them.
manifest=$DESTDIR$own/$kind.manifest

# ---- Steps ----

# Whether a manifest of this LIBDIR has the line.
listed() {
    grep -Fqxs -e "$1" "$DESTDIR$own"/*.manifest
}

# The same, of another kind than this one.
listed_elsewhere() {
    for other in "$DESTDIR$own"/*.manifest; do
        if [ "$other" != "$manifest" ] && grep -Fqxs -e "$1" "$other"; then
            return 0
        fi
    done
    return 1
}

# Checks, before anything is written, that no file of another package would be overwritten.
require_free() {
    for path; do
        if [ -e "$DESTDIR$path" ] || [ -L "$DESTDIR$path" ]; then
            listed "F $path" || die "$DESTDIR$path is there and not ours. \
Remove the package that it belongs to, or choose another --prefix: /usr/local goes before /usr."
        fi
    done
}

# Makes a folder and its ancestors, and adds to $folders those that are there because of us.
make_folder() {
    case $seen in
        *"
$1
"*) return 0 ;;
    esac
    seen="$seen$1
"
    [ -z "$1" ] || make_folder "${1%/*}"
    # The slash is the root's, whose path is empty here.
    if [ ! -d "$DESTDIR$1/" ]; then
        mkdir "$DESTDIR$1/" || {
            remove_folders "$folders"
            die "cannot make $DESTDIR$1: run as root, or choose a --prefix of yours"
        }
    elif ! listed "D $1"; then
        return 0
    fi
    folders="${folders}D $1
"
}

# claim PATH...: makes the folders for these files and notes both in the manifest, before any file is written, so that
# the next installation and --uninstall find what an interrupted one has left.
claim() {
    require_free "$@"
    for path in "$@" "$own/$kind.manifest"; do
        make_folder "${path%/*}"
    done
    files=$(printf 'F %s\n' "$@")
    {
        printf '%s\n' "$files"
        printf '%s' "$folders"
        [ ! -f "$manifest" ] || cat "$manifest"
    } | sort -u | write_manifest
}

write_manifest() {
    if ! { cat >"$manifest.new" && mv -f "$manifest.new" "$manifest"; }; then
        die "cannot write $manifest"
    fi
}

# put PATH COMMAND...: the command writes a new file next to PATH, which then takes its
# place in one step, so that running programs keep the old one.
put() {
    path=$1
    shift
    "$@" "$DESTDIR$path.new" || {
        rm -f "$DESTDIR$path.new"
        die "cannot write $DESTDIR$path: run as root, or choose a --prefix of yours"
    }
    [ -L "$DESTDIR$path.new" ] || chmod 644 "$DESTDIR$path.new"
    mv -f "$DESTDIR$path.new" "$DESTDIR$path"
    echo "installed $DESTDIR$path"
}

# strip_to [OPTION...] FILE NEW: NEW is FILE without what only debuggers and the Rust compiler read: debug information,
# symbols that no relocation needs, and the bitcode that std's objects carry for link-time optimization.
strip_to() {
    "$OBJCOPY" --strip-unneeded --remove-section=.llvmbc --remove-section=.llvmcmd "$@"
}

# Where put_library leaves the debug information of the library PATH.
debug_path() {
    printf '%s' "${1%/*}/.debug/${1##*/}.debug"
}

# put_library PATH FILE: a shared library, stripped, with its debug information beside it if that is wanted.
put_library() {
    library=$1
    built_library=$2
    if [ -n "$debuginfo" ]; then
        debug=$(debug_path "$library")
        put "$debug" "$OBJCOPY" --only-keep-debug "$built_library"
        # The link holds the debug file's name and checksum.
        put "$library" strip_to "--add-gnu-debuglink=$DESTDIR$debug" "$built_library"
    else
        put "$library" strip_to "$built_library"
    fi
}

# claim_library LIBRARY FILE...: claims a shared library, its debug information if that is wanted, and other files.
claim_library() {
    command -v "$OBJCOPY" >/dev/null || die "$OBJCOPY, which strips the libraries, is not there: install binutils, or set OBJCOPY"
    [ -z "$debuginfo" ] || set -- "$@" "$(debug_path "$1")"
    claim "$@"
}

# For the right side of sed's s||| .
quoted() {
    printf '%s' "$1" | sed 's/[\\|&]/\\&/g'
}

# A path that starts at the prefix stays relative to it, so that the tree can be moved.
below_prefix() {
    case $1 in
        "$prefix"/*) printf '%s' "\${prefix}${1#"$prefix"}" ;;
        *) printf '%s' "$1" ;;
    esac
}

write_pc() {
    version=$(sed -n 's/^#define PCSCLITE_VERSION_NUMBER "\(.*\)"$/\1/p' "$source/include/pcsclite.h")
    sed -e "s|@prefix@|$(quoted "$prefix")|" \
        -e "s|@libdir@|$(quoted "$(below_prefix "$libdir")")|" \
        -e "s|@includedir@|$(quoted "$(below_prefix "$includedir")")|" \
        -e "s|@version@|$(quoted "$version")|" "$source/include/libpcsclite.pc.in" >"$1"
}

# Removes the files of the manifest that are neither among $files nor another kind's.
remove_old() {
    sed -n 's/^F //p' "$manifest" | while IFS= read -r path; do
        if printf '%s\n' "$files" | grep -Fqx -e "F $path"; then
            continue
        fi
        rm -f "$DESTDIR$path.new"
        if listed_elsewhere "F $path"; then
            echo "kept $DESTDIR$path: another installation with this LIBDIR has it too"
        elif [ -e "$DESTDIR$path" ] || [ -L "$DESTDIR$path" ]; then
            rm -f "$DESTDIR$path" || die "cannot remove $DESTDIR$path: run as root"
            echo "removed $DESTDIR$path"
        fi
    done
}

# Removes those of these folders ("D path") that are empty, the innermost first.
remove_folders() {
    printf '%s\n' "$1" | sed -n 's/^D //p' | sort -r | while IFS= read -r path; do
        if rmdir "$DESTDIR$path" 2>/dev/null; then
            echo "removed $DESTDIR$path"
        fi
    done
}

install_library() {
    require_built libpcsclite.so libpcsclite.a
    headers='winscard pcsclite wintypes reader ifdhandler debuglog'
    set -- "$libdir/libpcsclite.so.1.0.0" "$libdir/libpcsclite.so.1" "$libdir/libpcsclite.so" \
        "$libdir/libpcsclite.a" "$libdir/pkgconfig/libpcsclite.pc"
    for name in $headers; do
        set -- "$@" "$includedir/PCSC/$name.h"
    done
    claim_library "$@"

    put_library "$libdir/libpcsclite.so.1.0.0" "$built/libpcsclite.so"
    put "$libdir/libpcsclite.so.1" ln -sf libpcsclite.so.1.0.0
    put "$libdir/libpcsclite.so" ln -sf libpcsclite.so.1
    put "$libdir/libpcsclite.a" strip_to "$built/libpcsclite.a"
    put "$libdir/pkgconfig/libpcsclite.pc" write_pc
    for name in $headers; do
        put "$includedir/PCSC/$name.h" cp "$source/include/$name.h"
    done
}

install_real() {
    require_built libpcsclite.so
    claim_library "$own/libpcsclite_real.so.1"
    put_library "$own/libpcsclite_real.so.1" "$built/libpcsclite.so"
}

# require_built FILE...: all of one package.
require_built() {
    package=pcsc-sys-shim
    [ "$kind" != driver ] || package=pcsc-ifd-handler
    for name; do
        # Cargo warns, and leaves the shared library out.
        [ "$name" != libpcsclite.so ] || [ -f "$built/$name" ] || [ ! -f "$built/libpcsclite.a" ] ||
            die "$built has the static library alone: with musl, Rust makes a shared one only where asked for. Build it with RUSTFLAGS='-C target-feature=-crt-static' cargo build --release -p $package"
        [ -f "$built/$name" ] ||
            die "$built/$name is not there. Build it first: cargo build --release -p $package"
    done
}

write_plist() {
    "$built/pcsc-ifd-info-plist" >"$1"
}

install_driver() {
    require_built libpcsc_ifd_handler.so pcsc-ifd-info-plist
    contents=$dropdir/ifd-pcsc-rs.bundle/Contents
    claim_library "$contents/Linux/libpcsc_ifd_handler.so" "$contents/Info.plist" "$rules"
    put_library "$contents/Linux/libpcsc_ifd_handler.so" "$built/libpcsc_ifd_handler.so"
    put "$contents/Info.plist" write_plist
    put "$rules" cp "$source/pcsc-ccid/udev/70-pcsc-ccid.rules"
}

install_udev() {
    claim "$rules"
    put "$rules" cp "$source/pcsc-ccid/udev/70-pcsc-ccid.rules"
}

# Leaves in the manifest what is there now.
finish() {
    remove_old
    remove_folders "$(cat "$manifest")"
    {
        printf '%s\n' "$files"
        sed -n 's/^D //p' "$manifest" | while IFS= read -r path; do
            [ ! -d "$DESTDIR$path" ] || printf 'D %s\n' "$path"
        done
    } | write_manifest
}

next_steps() {
    [ -z "$DESTDIR" ] || return 0
    echo
    if [ "$kind" = real ]; then
        echo "Next: in the environment of the programs that shall use it,"
        echo "  export LIBPCSCLITE_DELEGATE=$own/libpcsclite_real.so.1"
        return 0
    fi
    if [ "$kind" = driver ]; then
        echo "Next: as root, run udevadm control --reload, then systemctl restart pcscd.socket pcscd"
        echo "and plug the readers in again. From then on this driver serves them."
        [ "$dropdir" = /usr/lib/pcsc/drivers ] ||
            echo "pcscd, from version 2.0 on, looks there with PCSCLITE_HP_DROPDIR=$dropdir in its environment."
        return 0
    fi
    if [ "$kind" = udev ]; then
        echo "Next: as root, run udevadm control --reload, and plug the readers in again."
        return 0
    fi
    echo "Next: as root, run ldconfig; then"
    echo "  ldconfig -p | grep libpcsclite.so.1"
    echo "names $libdir/libpcsclite.so.1 first, and every program started from now on uses it."
    echo "Is it not in that list, then name $libdir in a file of /etc/ld.so.conf.d, or"
    echo "  export LD_LIBRARY_PATH=$libdir"
    echo "To compile: pkg-config --cflags --libs libpcsclite, with PKG_CONFIG_PATH=$libdir/pkgconfig"
    echo "if pkg-config does not look there by itself."
}

uninstall() {
    [ -f "$manifest" ] ||
        die "$manifest is not there: nothing to remove. Give the --prefix and --libdir of the installation, and --real, --driver or --udev."
    folders=$(cat "$manifest")
    remove_old
    rm -f "$manifest" "$manifest.new" || die "cannot remove $manifest: run as root"
    echo "removed $manifest"
    remove_folders "$folders"
    [ -n "$DESTDIR" ] || [ "$kind" != library ] || echo "Next: as root, run ldconfig."
}

files=
folders=
seen='
'
rules=$udevdir/70-pcsc-ccid.rules
if [ "$action" = uninstall ]; then
    uninstall
else
    "install_$kind"
    finish
    next_steps
fi
