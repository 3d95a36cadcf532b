# shellcheck shell=sh
# GnuPG makes keys on an OpenPGP card, lists the card, signs and verifies. The same card and the same time give the same
# output.
set -eu
# shellcheck source=tests/tests/clients/gnupg_home.sh
. "$(dirname "$0")/gnupg_home.sh"

run_gpg --card-status
end_gpg
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
