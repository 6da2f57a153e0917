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
need openssl openssl
need neomutt neomutt
need offlineimap offlineimap3
need fetchmail fetchmail
need getmail getmail6
need mpop mpop
need msmtp msmtp
need sieve-connect sieve-connect
need nginx nginx
need haproxy haproxy
need slapd slapd
need ldapmodify ldap-utils
need rsyslogd rsyslog
[ -n "$(find /usr/lib -path '*/rsyslog/lmnsd_ossl.so' 2>/dev/null)" ] || missing="$missing rsyslog-openssl"
[ -e /usr/lib/nginx/modules/ngx_mail_module.so ] || missing="$missing libnginx-mod-mail"
[ -x /usr/lib/cyrus/bin/master ] || missing="$missing cyrus-common"
# Debian's cyrus-imapd and dovecot-imapd shut each other out: the former's programs are unpacked beside its libraries.
cyrus=/usr/local/lib/gatekeeper-tests/cyrus
lacks_cyrus() {
    [ ! -x /usr/lib/cyrus/bin/imapd ] && [ ! -x "$cyrus/usr/lib/cyrus/bin/imapd" ]
}
[ -z "$missing" ] && ! lacks_cyrus && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    lacks_cyrus && missing="$missing cyrus-imapd"
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

echo "installing from Debian:$missing$(lacks_cyrus && echo " cyrus-imapd")" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
install() {
    # shellcheck disable=SC2086  a list of package names
    apt-get install -qq --yes --no-install-recommends -o Dpkg::Use-Pty=0 $missing >>"$log" 2>&1
}
if [ -n "$missing" ] && ! install; then
    { apt-get update -qq && install; } >>"$log" 2>&1 || {
        cat "$log" >&2
        echo "could not install:$missing (their tests are left out)" >&2
    }
fi
unpack_cyrus() {
    unpacked=$(mktemp -d)
    # Of the version that its libraries have.
    version=$(dpkg-query --show --showformat='${Version}' cyrus-common) &&
        (cd "$unpacked" && apt-get download -qq "cyrus-imapd=$version") &&
        mkdir -p "$cyrus" &&
        dpkg --extract "$unpacked"/cyrus-imapd_*.deb "$cyrus"
    result=$?
    rm -rf "$unpacked"
    return $result
}
if lacks_cyrus && ! unpack_cyrus >>"$log" 2>&1; then
    cat "$log" >&2
    echo "could not unpack cyrus-imapd (its tests are left out)" >&2
fi
rm -f "$log"
