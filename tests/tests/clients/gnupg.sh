# shellcheck shell=sh
# GnuPG makes keys on an OpenPGP card, lists the card, signs and verifies. It reaches the card by PC/SC alone. The same card and
# the same time give the same output.
set -eu
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

run_gpg --card-status
gpgconf --kill all
# The admin PIN; keys on Curve25519, which are made at once; the user PIN becomes the admin PIN.
opensc-tool --reader 0 \
    --send-apdu 00:20:00:83:08:31:32:33:34:35:36:37:38 \
    --send-apdu 00:DA:00:C1:0A:16:2B:06:01:04:01:DA:47:0F:01 \
    --send-apdu 00:DA:00:C2:0B:12:2B:06:01:04:01:97:55:01:05:01 \
    --send-apdu 00:DA:00:C3:0A:16:2B:06:01:04:01:DA:47:0F:01 \
    --send-apdu 00:24:00:81:0E:31:32:33:34:35:36:31:32:33:34:35:36:37:38
printf '%s\n' admin generate n 0 Tester test@example.org '' quit |
    run_gpg --status-fd 2 --command-fd 0 --card-edit
run_gpg --card-status
echo text >"$GNUPGHOME/text"
run_gpg --yes --armor --detach-sign --output "$GNUPGHOME/text.asc" "$GNUPGHOME/text"
cat "$GNUPGHOME/text.asc"
run_gpg --verify "$GNUPGHOME/text.asc" "$GNUPGHOME/text"
