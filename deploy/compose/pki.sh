#!/bin/sh
# Makes the certificates of both ends and the token of their admin ports in a directory, once: `sh pki.sh DIRECTORY`.
set -eu
cd "$1"
if [ ! -e admin.token ]; then
    causeway pki init link --link fra-to-sin --sender sender --receiver receiver
    umask 077
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > token.new
    chown -R 65534:65534 .
    mv token.new admin.token
fi
