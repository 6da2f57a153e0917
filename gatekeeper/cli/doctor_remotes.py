"""What `doctor` tests of the places that audit records and signed heads are sent to.

Inside holds: nothing is sent that is not there already, or means something: to a syslog receiver nothing, to an HTTP
server an empty batch, or the head that is published.
"""

import ssl
import tempfile
from contextlib import closing
from pathlib import Path

from gatekeeper.adapters.sinks.several import log_directories
from gatekeeper.adapters.sinks.shipping.channel import PeerFailed, words
from gatekeeper.adapters.sinks.shipping.http import HttpConnection, Reply
from gatekeeper.adapters.sinks.shipping.places import HttpCopies
from gatekeeper.adapters.sinks.shipping.settings import FilePlace, HeadSettings, HttpPeer, SyslogPeer
from gatekeeper.adapters.sinks.shipping.syslog import SyslogConnection
from gatekeeper.adapters.sinks.tiles import read_checkpoint_file
from gatekeeper.audit.checkpoint import read_checkpoint
from gatekeeper.cli.findings import Finding, State
from gatekeeper.config.settings import Settings
from gatekeeper.signing.note import NoteError

_REFUSED = {
    401: "it wants another token or certificate: check `token_file` and `client_certificate`",
    403: "it wants another token or certificate: check `token_file` and `client_certificate`",
    404: "nothing takes records at that path: check `url`",
    405: "nothing takes POST there: check `url`",
}
_TLS_ADVICE = "does `ca` fit its certificate, and its certificate the name in `address` or `url`?"
_ADVICE = "is it running, and does `address` or `url` fit it?"


def remotes(settings: Settings) -> list[Finding]:
    """Reach each of them as the gate would; a few seconds where one does not answer."""
    shipping, audit = settings.audit.shipping, settings.audit
    found = []
    for remote in shipping.remotes:
        test = f"audit remote {remote.name}"
        found.append(_syslog(test, remote.peer) if isinstance(remote.peer, SyslogPeer) else _http(test, remote.peer))
    found += (_head(f"audit checkpoint {head.name}", head, audit.directory) for head in shipping.heads)
    return found


def _head(test: str, head: HeadSettings, directory: Path) -> Finding:
    if isinstance(head.peer, FilePlace):
        return _directory(test, head.peer.path, directory)
    if isinstance(head.peer, SyslogPeer):
        return _syslog(test, head.peer)
    return _witness(test, head.peer) if head.is_witness else _copy(test, head.peer, directory)


def _syslog(test: str, peer: SyslogPeer) -> Finding:
    """Connect; a receiver that does not like our certificate says so a moment later."""
    try:
        with closing(SyslogConnection(peer)) as connection:
            connection.confirm()
    except (OSError, PeerFailed) as error:
        return _failed(test, peer.place, error)
    how = "plain, on loopback" if peer.tls is None else "its certificate is good, and it did not refuse ours"
    return Finding(test, State.OK, f"{peer.place}: answers; {how}")


def _http(test: str, peer: HttpPeer) -> Finding:
    """An empty batch: what a server says to it says whether it would take one with records."""
    try:
        with closing(HttpConnection(peer)) as connection:
            reply = connection.post(b"", {"Content-Type": "application/x-ndjson"})
    except (OSError, PeerFailed) as error:
        return _failed(test, peer.place, error)
    if 200 <= reply.status < 300:
        return Finding(test, State.OK, f"{peer.place}: takes batches")
    return _answered(test, peer.place, reply)


def _witness(test: str, peer: HttpPeer) -> Finding:
    """An empty request, which a witness refuses as malformed."""
    try:
        with closing(HttpConnection(peer)) as connection:
            reply = connection.post(b"", {"Content-Type": "text/plain; charset=utf-8"})
    except (OSError, PeerFailed) as error:
        return _failed(test, peer.place, error)
    if reply.status == 400:
        return Finding(test, State.OK, f"{peer.place}: answers as a witness does")
    return _answered(test, peer.place, reply)


def _copy(test: str, peer: HttpPeer, directory: Path) -> Finding:
    """The head that is published: it has that one, or should."""
    for log in log_directories(directory):
        note = read_checkpoint_file(log)
        if note is None:
            continue
        try:
            head, _ = read_checkpoint(note)
            with closing(HttpCopies(peer, head.origin)) as place:
                place.keep(note, head)
        except (OSError, PeerFailed, NoteError) as error:
            return _failed(test, peer.place, error)
        return Finding(test, State.OK, f"{peer.place}: took the head of {head.size} records")
    return Finding(test, State.WARN, f"{peer.place}: not tested, for nothing is signed yet", "start the gate once")


def _directory(test: str, path: Path, log: Path) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"x")
            file.flush()
        is_same = log.is_dir() and path.stat().st_dev == log.stat().st_dev
    except OSError as error:
        advice = "mount it, and let the service's user write there (systemd: `ReadWritePaths=`)"
        return Finding(test, State.FAIL, f"{path}: {error.strerror}", advice)
    if is_same:
        advice = "name a directory on another machine's disk: whoever can change the log can change this copy as well"
        return Finding(test, State.WARN, f"{path}: on the same file system as the log", advice)
    return Finding(test, State.OK, f"{path}: can be written")


def _failed(test: str, place: str, error: Exception) -> Finding:
    advice = _TLS_ADVICE if isinstance(error, ssl.SSLError) else _ADVICE
    return Finding(test, State.FAIL, f"{place}: {words(error)}", advice)


def _answered(test: str, place: str, reply: Reply) -> Finding:
    words = f"{place}: answered {reply.status}"
    if reply.status in _REFUSED:
        return Finding(test, State.FAIL, words, _REFUSED[reply.status])
    if reply.status >= 500:
        return Finding(test, State.FAIL, words, "see its log")
    return Finding(test, State.WARN, f"{words} to an empty request", "`status` says how it goes with records")
