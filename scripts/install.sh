#!/bin/sh
# Installs the library, its headers and its pkg-config file, or the driver for pcscd; --help says how.
set -eu

usage() {
    cat <<'END'
Usage: scripts/install.sh [--prefix DIR] [--libdir DIR] [--includedir DIR] [--real]
       scripts/install.sh --driver [--prefix DIR] [--libdir DIR] [--dropdir DIR] [--udevdir DIR]
       scripts/install.sh --udev [--prefix DIR] [--libdir DIR] [--udevdir DIR]
       scripts/install.sh --uninstall [--prefix DIR] [--libdir DIR] [--real | --driver | --udev]

Installs what `cargo build --release -p pcsc-sys-shim` has built:
  LIBDIR/libpcsclite.so.1.0.0, with the links libpcsclite.so.1 and libpcsclite.so
  LIBDIR/libpcsclite.a
  LIBDIR/pkgconfig/libpcsclite.pc
  INCLUDEDIR/PCSC/{winscard,pcsclite,wintypes,reader}.h

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
                    UDEVDIR/70-pcsc-ccid.rules, which gives users at the seat their readers
  --udev            installs those rules and nothing else: for programs that use the
                    readers without a daemon
  --dropdir DIR     where pcscd looks for drivers; default /usr/lib/pcsc/drivers
  --udevdir DIR     default /etc/udev/rules.d
  --uninstall       removes what an installation with the same LIBDIR has put there
  --help            this text

Environment:
  DESTDIR           put before every path, to build a package
  CARGO_TARGET_DIR  where cargo builds, if not in target/

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
kind=library
action=install
while [ $# -gt 0 ]; do
    option=$1
    shift
    case $option in
        --help | -h) usage; exit 0 ;;
        --real) kind=real; continue ;;
        --driver) kind=driver; continue ;;
        --udev) kind=udev; continue ;;
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
: "${libdir:=$prefix/lib}" "${includedir:=$prefix/include}" "${DESTDIR:=}"

source=$(dirname -- "$(readlink -f -- "$0")")/..
built=${CARGO_TARGET_DIR:-$source/target}/release
own=$libdir/pcsc-rs
# One line for each file ("F path") and folder ("D path") that is there because of us.
manifest=$DESTDIR$own/$kind.manifest

# ---- Steps ----

installed() {
    [ -f "$manifest" ] && grep -Fqx -e "F $1" "$manifest"
}

# Writing is as good as done only if no file of somebody else is in the way.
require_free() {
    for path; do
        if [ -e "$DESTDIR$path" ] || [ -L "$DESTDIR$path" ]; then
            installed "$path" || die "$DESTDIR$path is there and not ours. \
Remove the package that it belongs to, or choose another --prefix: /usr/local goes before /usr."
        fi
    done
}

# Makes a folder and notes which of its ancestors are new.
make_folder() {
    [ -d "$DESTDIR$1" ] && return
    [ -z "$1" ] || make_folder "${1%/*}"
    mkdir "$DESTDIR$1" || die "cannot make $DESTDIR$1: run as root, or choose a --prefix of yours"
    new_folders="$new_folders
D $1"
}

# put PATH COMMAND...: the command writes a new file next to PATH, which then takes its
# place in one step, so that running programs keep the old one.
put() {
    path=$1
    shift
    make_folder "${path%/*}"
    "$@" "$DESTDIR$path.new" || die "cannot write $DESTDIR$path: run as root, or choose a --prefix of yours"
    [ -L "$DESTDIR$path.new" ] || chmod 644 "$DESTDIR$path.new"
    mv -f "$DESTDIR$path.new" "$DESTDIR$path"
    files="$files
F $path"
    echo "installed $DESTDIR$path"
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

# Removes the files of the manifest that are not among $files, and what is empty then.
remove_old() {
    sed -n 's/^F //p' "$manifest" | while IFS= read -r path; do
        if ! printf '%s\n' "$files" | grep -Fqx -e "F $path"; then
            rm -f "$DESTDIR$path" || die "cannot remove $DESTDIR$path: run as root"
            echo "removed $DESTDIR$path"
        fi
    done
}

remove_folders() {
    printf '%s\n' "$1" | sed -n 's/^D //p' | sort -r | while IFS= read -r path; do
        rmdir "$DESTDIR$path" 2>/dev/null && echo "removed $DESTDIR$path" || :
    done
}

install_library() {
    for name in libpcsclite.so libpcsclite.a; do
        [ -f "$built/$name" ] ||
            die "$built/$name is not there. Build it first: cargo build --release -p pcsc-sys-shim"
    done
    headers='winscard pcsclite wintypes reader'
    set -- "$libdir/libpcsclite.so.1.0.0" "$libdir/libpcsclite.so.1" "$libdir/libpcsclite.so" \
        "$libdir/libpcsclite.a" "$libdir/pkgconfig/libpcsclite.pc"
    for name in $headers; do
        set -- "$@" "$includedir/PCSC/$name.h"
    done
    require_free "$@"

    put "$libdir/libpcsclite.so.1.0.0" cp "$built/libpcsclite.so"
    put "$libdir/libpcsclite.so.1" ln -sf libpcsclite.so.1.0.0
    put "$libdir/libpcsclite.so" ln -sf libpcsclite.so.1
    put "$libdir/libpcsclite.a" cp "$built/libpcsclite.a"
    put "$libdir/pkgconfig/libpcsclite.pc" write_pc
    for name in $headers; do
        put "$includedir/PCSC/$name.h" cp "$source/include/$name.h"
    done
}

install_real() {
    [ -f "$built/libpcsclite.so" ] ||
        die "$built/libpcsclite.so is not there. Build it first: cargo build --release -p pcsc-sys-shim"
    require_free "$own/libpcsclite_real.so.1"
    put "$own/libpcsclite_real.so.1" cp "$built/libpcsclite.so"
}

write_plist() {
    "$built/pcsc-ifd-info-plist" >"$1"
}

install_driver() {
    for name in libpcsc_ifd_handler.so pcsc-ifd-info-plist; do
        [ -f "$built/$name" ] ||
            die "$built/$name is not there. Build it first: cargo build --release -p pcsc-ifd-handler"
    done
    contents=$dropdir/ifd-pcsc-rs.bundle/Contents
    require_free "$contents/Linux/libpcsc_ifd_handler.so" "$contents/Info.plist"
    put "$contents/Linux/libpcsc_ifd_handler.so" cp "$built/libpcsc_ifd_handler.so"
    put "$contents/Info.plist" write_plist
    install_udev
}

# The rules belong to whichever of --driver and --udev has installed them first.
install_udev() {
    rules=$udevdir/70-pcsc-ccid.rules
    for other in driver udev; do
        if [ "$other" != "$kind" ] && grep -Fqxs -e "F $rules" "$DESTDIR$own/$other.manifest"; then
            echo "$DESTDIR$rules is there: --$other has installed it"
            return
        fi
    done
    require_free "$rules"
    put "$rules" cp "$source/pcsc-ccid/udev/70-pcsc-ccid.rules"
}

write_manifest() {
    make_folder "$own"
    folders=$new_folders
    if [ -f "$manifest" ]; then
        remove_old
        folders=$folders$(printf '\n' && grep '^D ' "$manifest" || :)
    fi
    printf '%s\n' "$files" "$folders" | grep '^[FD] ' >"$manifest.new"
    mv -f "$manifest.new" "$manifest"
}

next_steps() {
    [ -z "$DESTDIR" ] || return 0
    echo
    if [ "$kind" = real ]; then
        echo "Next: in the environment of the programs that shall use it,"
        echo "  export LIBPCSCLITE_DELEGATE=$own/libpcsclite_real.so.1"
        return
    fi
    if [ "$kind" = driver ]; then
        echo "Next: as root, run udevadm control --reload, then systemctl restart pcscd.socket pcscd"
        echo "and plug the readers in again. From then on this driver serves them."
        [ "$dropdir" = /usr/lib/pcsc/drivers ] ||
            echo "pcscd, from version 2.0 on, looks there with PCSCLITE_HP_DROPDIR=$dropdir in its environment."
        return
    fi
    if [ "$kind" = udev ]; then
        echo "Next: as root, run udevadm control --reload, and plug the readers in again."
        return
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
    folders=$(grep '^D ' "$manifest" || :)
    remove_old
    rm -f "$manifest" || die "cannot remove $manifest: run as root"
    echo "removed $manifest"
    remove_folders "$folders"
    [ -n "$DESTDIR" ] || [ "$kind" != library ] || echo "Next: as root, run ldconfig."
}

files=
new_folders=
if [ "$action" = uninstall ]; then
    uninstall
else
    "install_$kind"
    write_manifest
    next_steps
fi
