# shellcheck shell=sh
# GnuPG's scdaemon and OpenSC's PKCS#11 module use one OpenPGP card at the same time. scdaemon keeps its connection to the card
# from the first command to its end.
set -eu
# shellcheck source=tests/tests/clients/gnupg_home.sh
. "$(dirname "$0")/gnupg_home.sh"

# By default scdaemon has the card to itself.
run_gpg --card-status
opensc-tool --reader 0 --send-apdu 00:CA:00:4F:00 2>&1 || echo "opensc-tool ended with $?"
end_gpg

echo pcsc-shared >>"$GNUPGHOME/scdaemon.conf"
run_gpg --card-status >/dev/null
# The admin PIN; keys on Curve25519, and one on P-256 for authentication; the user PIN becomes the admin PIN.
opensc-tool --reader 0 --card-driver default \
    --send-apdu 00:A4:04:00:06:D2:76:00:01:24:01 \
    --send-apdu 00:20:00:83:08:31:32:33:34:35:36:37:38 \
    --send-apdu 00:DA:00:C1:0A:16:2B:06:01:04:01:DA:47:0F:01 \
    --send-apdu 00:DA:00:C2:0B:12:2B:06:01:04:01:97:55:01:05:01 \
    --send-apdu 00:DA:00:C3:09:13:2A:86:48:CE:3D:03:01:07 \
    --send-apdu 00:24:00:81:0E:31:32:33:34:35:36:31:32:33:34:35:36:37:38
# scdaemon has read the old attributes.
end_gpg
printf '%s\n' admin generate n 0 Tester test@example.org '' quit |
    run_gpg --status-fd 2 --command-fd 0 --card-edit
scdaemon=$(gpg-connect-agent 'scd getinfo pid' /bye)

pkcs11() {
    pkcs11-tool --token-label 'OpenPGP card (User PIN)' "$@" 2>&1
}
# One line has a pointer.
pkcs11 --list-objects | grep -v 'Profile object'
printf '%064d' 0 >"$GNUPGHOME/digest"
for round in 1 2; do
    run_gpg --yes --armor --detach-sign --output "$GNUPGHOME/text.asc" "$GNUPGHOME/digest"
    run_gpg --verify "$GNUPGHOME/text.asc" "$GNUPGHOME/digest"
    pkcs11 --login --pin 12345678 --sign --mechanism ECDSA-SHA256 --id 03 --input-file "$GNUPGHOME/digest" \
        --output-file "$GNUPGHOME/signature"
    pkcs11 --login --pin 12345678 --verify --mechanism ECDSA-SHA256 --id 03 --input-file "$GNUPGHOME/digest" \
        --signature-file "$GNUPGHOME/signature"
    test "$(gpg-connect-agent 'scd getinfo pid' /bye)" = "$scdaemon"
    echo "round $round"
done
