#!/bin/sh
# Build ImapTest, Dovecot's tester of IMAP servers (MIT), into the directory given: it is in no Debian release.
# As root the compiler's tools are installed from Debian when they are missing. SOURCE may name a clone at hand.
set -eu

target=$1
[ -x "$target/src/imaptest" ] && exit 0
if ! [ -e /usr/include/dovecot/imap-parser.h ] || ! command -v autoreconf libtoolize >/dev/null 2>&1; then
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends --no-upgrade \
        build-essential git dovecot-dev autoconf automake libtool >&2
fi
rm -rf "$target"
# The branch for Dovecot 2.3, which Debian 12 has.
git clone -q --branch release-2.3.21 "${SOURCE:-https://github.com/dovecot/imaptest}" "$target"
cd "$target"
# Debian's Dovecot has the parser of later versions, which takes a limit more.
if grep -q imap_parser_params /usr/include/dovecot/imap-parser.h; then
    sed -i 's/\(imap_parser_create(.*, (size_t)-1\))/\1, NULL)/' src/*.c
fi
{ ./autogen.sh && LD_RUN_PATH=/usr/lib/dovecot ./configure --with-dovecot=/usr/lib/dovecot && LD_RUN_PATH=/usr/lib/dovecot make; } >build.log 2>&1 || {
    tail -n 20 build.log >&2
    exit 1
}
