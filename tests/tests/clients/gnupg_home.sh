# shellcheck shell=sh
# What the scripts with GnuPG begin with: a home of its own, which reaches cards by PC/SC alone.
GNUPGHOME=$(mktemp -d /tmp/gnupg-XXXXXX)
export GNUPGHOME LC_ALL=C
trap 'gpgconf --kill all; rm -rf "$GNUPGHOME"' EXIT
trap 'exit 1' HUP INT TERM
echo disable-ccid >"$GNUPGHOME/scdaemon.conf"

run_gpg() {
    # One PIN for everything, as gpg takes one from its command line.
    gpg --quiet --no-tty --faked-system-time '20260101T000000!' --pinentry-mode loopback --passphrase 12345678 "$@" \
        >"$GNUPGHOME/output" 2>&1 || echo "gpg ended with $?"
    sed "s|$GNUPGHOME|HOME|g" "$GNUPGHOME/output"
}
