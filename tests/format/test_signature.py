from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_probckpt.errors import InvalidKeyError
from keras_probckpt.format.signature import KeyRing, SigningKey, parse_keys

FIRST = SigningKey(bytes(range(32)))
SECOND = SigningKey(bytes(32))
FIRST_HEX = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
# Computed with openssl: HMAC-SHA256 of "abc".
FIRST_OF_ABC = "f0133729c4163dede81e21cd47839256da58171238c8a0d874397c73b14e1e47"


def test_a_signature_is_hmac_sha256() -> None:
    """Any tool that has the key can check it."""
    assert FIRST.sign(b"abc") == FIRST_OF_ABC


def test_a_key_verifies_what_it_signed_and_nothing_else() -> None:
    """Other data, another key, a cut or an odd signature: none verifies, none raises."""
    assert FIRST.verify(b"abc", signature=FIRST_OF_ABC)
    assert not FIRST.verify(b"abd", signature=FIRST_OF_ABC)
    assert not SECOND.verify(b"abc", signature=FIRST_OF_ABC)
    assert not FIRST.verify(b"abc", signature=FIRST_OF_ABC[:-1])
    assert not FIRST.verify(b"abc", signature="")
    assert not FIRST.verify(b"abc", signature="é\ud800")


def test_a_key_id_is_that_of_the_specification() -> None:
    """The first 16 digits of SHA-256 over the domain, a zero byte and the secret; computed with sha256sum."""
    assert FIRST.key_id == "71e47313748d7ad5"


def test_a_key_does_not_show_its_secret() -> None:
    """Logs and tracebacks print `repr`s."""
    assert repr(KeyRing((FIRST,))) == "KeyRing(keys=(SigningKey(),))"


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_secret_of_another_length_is_refused(length: int) -> None:
    """A short secret could be guessed."""
    with pytest.raises(ValueError, match=f"the secret of a signing key has 32 bytes, this one has {length}"):
        SigningKey(bytes(length))


def test_the_first_key_signs_and_every_key_is_found() -> None:
    """A new key goes first, and old checkpoints stay one's own."""
    ring = KeyRing((FIRST, SECOND))

    assert ring.signing_key is FIRST
    assert ring.find(SECOND.key_id) is SECOND
    assert ring.find("0" * 16) is None


def test_an_empty_ring_signs_nothing() -> None:
    """A reader need not have a key."""
    assert KeyRing().signing_key is None
    assert KeyRing().find(FIRST.key_id) is None


@pytest.mark.parametrize("text", [FIRST_HEX, FIRST_HEX.upper(), f"  {FIRST_HEX}\n"])
def test_one_key_is_read(text: str) -> None:
    """In either case of letters, with the line feed of a file."""
    assert parse_keys(text, source="the test") == KeyRing((FIRST,))


def test_several_keys_are_read_in_order() -> None:
    """The first of them signs."""
    assert parse_keys(f"{FIRST_HEX}, {'00' * 32}", source="the test") == KeyRing((FIRST, SECOND))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "key 1 of 1 is empty"),
        (f"{FIRST_HEX},", "key 2 of 2 is empty"),
        (FIRST_HEX[1:], "key 1 of 1 has 63 characters, not 64"),
        (f"{FIRST_HEX},{FIRST_HEX}0", "key 2 of 2 has 65 characters, not 64"),
        ("g" + FIRST_HEX[1:], "key 1 of 1 holds a character that is not a hexadecimal digit"),
        ("\N{ARABIC-INDIC DIGIT ONE}" + FIRST_HEX[1:], "key 1 of 1 holds a character that is not a hexadecimal digit"),
    ],
)
def test_what_is_no_key_is_refused_with_its_place(text: str, problem: str) -> None:
    """The error says which key of which source, and what is wrong with it."""
    with pytest.raises(InvalidKeyError) as caught:
        parse_keys(text, source="KERAS_PROBCKPT_KEY")

    assert (caught.value.source, caught.value.problem) == ("KERAS_PROBCKPT_KEY", problem)


@given(st.text("0123456789abcdefg", min_size=8, max_size=80).filter(lambda text: len(text) != 64))
def test_a_refused_key_is_not_shown(text: str) -> None:
    """An almost right key is still a secret."""
    with pytest.raises(InvalidKeyError) as caught:
        parse_keys(text, source="the test")

    assert text not in str(caught.value)
    assert text not in repr(pickle.loads(pickle.dumps(caught.value)))  # noqa: S301 - our own bytes
    assert caught.value.__cause__ is None
