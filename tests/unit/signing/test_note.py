"""Signed notes: the specification's format, other people's implementations, and everything that must be refused."""

import os
import shutil
import subprocess
from pathlib import Path

import metamorphic_log
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.signing.note import Note, NoteError, Signature, VerifierKey, parse_note, signed_by
from testkit.publishing import MALLORY, NOVAK, RUIZ

TEXT = "gatekeeper.example/policy\n42\nsha256:00\n"
# The example in the documentation of Go's golang.org/x/mod/sumdb/note.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
_GO_SOURCES = Path("/usr/share/gocode")
_GO_PROGRAM = """package main

import ("fmt"; "os"; "golang.org/x/mod/sumdb/note")

func main() {
	text, _ := os.ReadFile(os.Args[1])
	var known []note.Verifier
	for _, key := range os.Args[2:] {
		verifier, err := note.NewVerifier(key)
		if err != nil { fmt.Println(err); os.Exit(2) }
		known = append(known, verifier)
	}
	opened, err := note.Open(text, note.VerifierList(known...))
	if err != nil { fmt.Println(err); os.Exit(1) }
	fmt.Println(len(opened.Sigs), len(opened.UnverifiedSigs))
}
"""


def signed_twice() -> Note:
    return NOVAK.sign(RUIZ.sign(Note(TEXT)))


def test_a_signed_note_is_read_back_as_it_was_written() -> None:
    """Text, empty line, signature lines; the octets are the same again."""
    data = signed_twice().encode()

    assert data.startswith(TEXT.encode() + "\n— a.ruiz ".encode())
    assert parse_note(data) == signed_twice()
    assert parse_note(data).encode() == data


def test_who_signed_is_told_each_once() -> None:
    """Known keys only, in the order of their lines; a line twice counts once."""
    note = signed_twice()
    doubled = Note(TEXT, (*note.signatures, *note.signatures))

    assert signed_by(doubled, [NOVAK.verifier, RUIZ.verifier]) == (RUIZ.verifier, NOVAK.verifier)
    assert signed_by(note, [MALLORY.verifier]) == ()


def test_a_changed_text_refuses_the_whole_note() -> None:
    """A line of a known key that does not fit makes all of it worthless."""
    note = Note(TEXT.replace("42", "43"), signed_twice().signatures)

    with pytest.raises(NoteError, match="does not fit"):
        signed_by(note, [RUIZ.verifier])


def test_the_name_of_another_is_no_signature_of_theirs() -> None:
    """Mallory's line under a known name and id does not verify; under the name alone it means nothing."""
    forged = MALLORY.sign(Note(TEXT)).signatures[0]
    as_ruiz = Note(TEXT, (Signature("a.ruiz", RUIZ.verifier.key_id, forged.octets),))

    with pytest.raises(NoteError):
        signed_by(as_ruiz, [RUIZ.verifier])
    with pytest.raises(NoteError):  # a right line beside it does not help
        signed_by(Note(TEXT, (*signed_twice().signatures, *as_ruiz.signatures)), [RUIZ.verifier])
    assert signed_by(Note(TEXT, (Signature("a.ruiz", forged.key_id, forged.octets),)), [RUIZ.verifier]) == ()


def test_what_go_signed_is_verified() -> None:
    """The example of the documentation of Go's package."""
    key = VerifierKey.parse(GO_KEY)

    assert str(key) == GO_KEY
    assert signed_by(parse_note(GO_NOTE.encode()), [key]) == (key,)
    with pytest.raises(NoteError):
        signed_by(parse_note(GO_NOTE.replace("cryptography", "cryptology").encode()), [key])


def test_a_foreign_implementation_in_rust_verifies_ours() -> None:
    """The package metamorphic-log finds both signatures, and refuses the note when a digit is changed."""
    text = signed_twice().encode().decode()
    keys = [str(RUIZ.verifier), str(NOVAK.verifier)]

    assert metamorphic_log.verify_signed_note(text, keys) == 2
    with pytest.raises(metamorphic_log.VerifyError):
        metamorphic_log.verify_signed_note(text.replace("42", "43"), keys)


@pytest.mark.skipif(
    shutil.which("go") is None or not (_GO_SOURCES / "src/golang.org/x/mod").is_dir(),
    reason="needs golang-go and golang-golang-x-mod-dev",
)
def test_go_verifies_ours(tmp_path: Path) -> None:
    """golang.org/x/mod/sumdb/note opens a note of two signatures, and not when a digit is changed."""
    program = tmp_path / "main.go"
    program.write_text(_GO_PROGRAM)
    own = {"GO111MODULE": "off", "GOPATH": str(_GO_SOURCES), "GOFLAGS": "", "GOCACHE": str(tmp_path / "cache")}
    keys = [str(RUIZ.verifier), str(NOVAK.verifier)]

    def opened(text: bytes) -> str:
        note = tmp_path / "note"
        note.write_bytes(text)
        command = ["go", "run", str(program), str(note), *keys]
        return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **own}).stdout

    data = signed_twice().encode()
    assert opened(data) == "2 0\n"
    assert "invalid signature" in opened(data.replace(b"42", b"43"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_verifies_the_signature_alone(tmp_path: Path) -> None:
    """The octets behind the key id are a plain Ed25519 signature over the text."""
    signature = signed_twice().signatures[0]
    spki = bytes.fromhex("302a300506032b6570032100") + RUIZ.verifier.public  # RFC 8410
    for name, octets in (("text", TEXT.encode()), ("sig", signature.octets), ("key", spki)):
        (tmp_path / name).write_bytes(octets)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin"]
    command += ["-inkey", "key", "-in", "text", "-sigfile", "sig"]

    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "Verified Successfully" in done.stdout


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a.ruiz", "is not a verifier key"),
        ("a.ruiz+00000000+AQ==", "not an Ed25519"),
        (GO_KEY.replace("c74f20a3", "c74f20a4"), "its id does not belong"),
        (GO_KEY.replace("PeterNeumann", "Peter"), "its id does not belong"),
        (GO_KEY.replace("ARpc", "AhpC"), "not an Ed25519"),
        (GO_KEY + "=", "base64"),
        ("a b+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "not a key name"),
    ],
)
def test_a_bad_key_is_refused_with_why(text: str, reason: str) -> None:
    """Cut, changed, or no key at all."""
    with pytest.raises(NoteError, match=reason):
        VerifierKey.parse(text)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\nno signature\n",
        b"text\n\n-- a AAAAAAA=\n",
        b"text\n\n\xe2\x80\x94 a AAAA\n",
        b"text\n\n\xe2\x80\x94 a !!!!!!!!\n",
        b"text\n\n\xe2\x80\x94 a+b AAAAAAAA\n",
        b"te\x00xt\n\n",
        b"te\rxt\n\n",
        b"\xff\n\n",
        b"text\n\n" + 101 * b"\xe2\x80\x94 a AAAAAAAA\n",
        b"text\n\n" + 70_000 * b"a",
    ],
)
def test_what_is_no_note_is_refused(data: bytes) -> None:
    """Each fault of the format."""
    with pytest.raises(NoteError):
        parse_note(data)


@given(st.binary(max_size=300) | st.text(alphabet="a\n— =A", max_size=60).map(str.encode))
def test_any_octets_give_a_note_or_an_error(data: bytes) -> None:
    """Total, and what is read is written again as it was."""
    try:
        note = parse_note(data)
    except NoteError:
        return
    assert note.encode() == data
