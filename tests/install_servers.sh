#!/bin/sh
# Install the mail servers and clients that the end-to-end tests use, from Debian, as root; quiet when all are there.
# Without root or apt it says what is missing and succeeds: those tests are then left out, with their reason.
set -eu

PATH="$PATH:/usr/sbin:/sbin"
missing=""
need() { # program, package
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need dovecot dovecot-imapd
[ -x /usr/lib/dovecot/submission-login ] || missing="$missing dovecot-submissiond"
[ -x /usr/lib/dovecot/pop3-login ] || missing="$missing dovecot-pop3d"
[ -x /usr/lib/dovecot/managesieve-login ] || missing="$missing dovecot-managesieved dovecot-sieve"
need postfix postfix
need swaks swaks
need mbsync isync
need curl curl
need sieve-connect sieve-connect
need nginx nginx
need haproxy haproxy
[ -e /usr/lib/nginx/modules/ngx_mail_module.so ] || missing="$missing libnginx-mod-mail"
[ -z "$missing" ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "not installed, and not installable without root and apt-get:$missing" >&2
    exit 0
fi

# Debian starts a service as soon as it is installed; these are only wanted as programs. A policy that somebody already
# put there stays.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

echo "installing from Debian:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
install() {
    # shellcheck disable=SC2086  a list of package names
    apt-get install -qq --yes --no-install-recommends -o Dpkg::Use-Pty=0 $missing >>"$log" 2>&1
}
if ! install; then
    { apt-get update -qq && install; } >>"$log" 2>&1 || {
        cat "$log" >&2
        echo "could not install:$missing (their tests are left out)" >&2
    }
fi
rm -f "$log"
