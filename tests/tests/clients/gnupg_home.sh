# shellcheck shell=sh
# What the scripts with GnuPG begin with: a home of its own, which reaches cards by PC/SC alone.
GNUPGHOME=$(mktemp -d /tmp/gnupg-XXXXXX)
export GNUPGHOME LC_ALL=C
trap 'gpgconf --kill all; rm -rf "$GNUPGHOME"' EXIT
trap 'exit 1' HUP INT TERM
echo disable-ccid >"$GNUPGHOME/scdaemon.conf"

# Ends GnuPG's daemons. gpgconf returns before scdaemon has ended, and the resource manager frees the card later still.
end_gpg() {
    gpgconf --kill all
    for _ in $(seq 600); do
        # Zombies (Z) do not count: nobody reaps a daemon here.
        pgrep -x scdaemon --runstates R,S,D,T >/dev/null || break
        sleep 0.1
    done
    for _ in $(seq 600); do
        case $(opensc-tool --reader 0 --card-driver default --atr 2>&1) in
        *'in use'*) sleep 0.1 ;;
        *) return ;;
        esac
    done
    echo 'The card is still in use a minute after the end of scdaemon.' >&2
    return 1
}

run_gpg() {
    # One PIN for everything, as gpg takes one from its command line.
    gpg --quiet --no-tty --faked-system-time '20260101T000000!' --pinentry-mode loopback --passphrase 12345678 "$@" \
        >"$GNUPGHOME/output" 2>&1 || echo "gpg ended with $?"
    sed "s|$GNUPGHOME|HOME|g" "$GNUPGHOME/output"
}
