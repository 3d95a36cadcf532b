# shellcheck shell=sh
# Tools for PKCS#11 and PIV on a PIV card in the reader $1: yubico-piv-tool makes a key, others use it. Parts of an elliptic
# signature are random on some cards and not on this one, but no output here depends on that.
set -eu
reader=$1
python=$2
folder=$(mktemp -d /tmp/piv-XXXXXX)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
export LC_ALL=C
# The key and the certificate that says so; the authority's key is not the card's.
key=--key=010203040506070801020304050607080102030405060708
yubico-piv-tool --reader "$reader" --action status
yubico-piv-tool --reader "$reader" $key --action generate --slot 9a --algorithm ECCP256 --output "$folder/public.pem"
cat "$folder/public.pem"
{
    openssl ecparam -name prime256v1 -genkey -noout -out "$folder/authority.pem"
    openssl req -new -key "$folder/authority.pem" -subj /CN=card -out "$folder/request.pem"
    openssl x509 -req -in "$folder/request.pem" -key "$folder/authority.pem" -force_pubkey "$folder/public.pem" \
        -set_serial 1 -days 3650 -out "$folder/certificate.pem"
} 2>/dev/null
yubico-piv-tool --reader "$reader" $key --action import-certificate --slot 9a --input "$folder/certificate.pem"

ykman list
ykman list --readers
ykman --reader "$reader" info
opensc-tool --reader "$reader" --name
pkcs15-tool --list-keys --list-certificates
p11tool --list-tokens
p11tool --login --set-pin 123456 --list-all 'pkcs11:token=card' | grep -v 'Expires:'
p11tool --login --set-pin 123456 --test-sign 'pkcs11:token=card;id=%01;type=private' 2>&1
"$python" "$(dirname "$0")/../../python/sign.py"

# OpenSC's own test of a token, whose one error is that the card gives no random numbers; then a signature that it makes
# and verifies.
pkcs11-tool --login --pin 123456 --test 2>&1
printf '%064d' 0 >"$folder/digest"
pkcs11-tool --login --pin 123456 --sign --mechanism ECDSA-SHA256 --id 01 --input-file "$folder/digest" \
    --output-file "$folder/signature" 2>&1
pkcs11-tool --login --pin 123456 --verify --mechanism ECDSA-SHA256 --id 01 --input-file "$folder/digest" \
    --signature-file "$folder/signature" 2>&1

# OpenSSH lists the card's key. The agent is a copy without its set-group-ID bit, which would make the loader ignore
# LD_LIBRARY_PATH.
for module in /usr/lib/*/opensc-pkcs11.so; do
    ssh-keygen -D "$module"
    cp "$(command -v ssh-agent)" "$folder/ssh-agent"
    printf '#!/bin/sh\necho 123456\n' >"$folder/pin"
    chmod 755 "$folder/pin"
    # shellcheck disable=SC2016 # the inner shell expands it
    SSH_ASKPASS=$folder/pin SSH_ASKPASS_REQUIRE=force "$folder/ssh-agent" sh -c '
        ssh-add -s "$1" 2>&1
        ssh-add -L' sh "$module"
done
