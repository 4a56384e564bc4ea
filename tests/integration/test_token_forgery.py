"""Every forgery of the list, made with a JOSE library that shares nothing with ours: none is accepted."""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwcrypto
import pytest
from flask.testing import FlaskClient
from joserfc import jwe, jws, jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from tests.fixtures.api import SignedIn, bearer
from tests.fixtures.attacks import Tried
from tests.fixtures.people import as_json, sign
from web.services import Services

UPDATE = "/api/v1/scores/update"
_COMPACT = re.compile(r"\A(?=.{40})[\w-]*(\.[\w-]*){2,4}\Z")
_WRITTEN_OUT = re.compile(r'\A\{.*"(signature|ciphertext)"')


def b64(data: bytes | str | dict[str, Any]) -> str:
    """base64url without padding."""
    if isinstance(data, dict):
        data = json.dumps(data)
    if isinstance(data, str):
        data = data.encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Forger:
    """Knows a good token's claims; has our key only for what must be refused although it is signed with it."""

    def __init__(self, services: Services, player: SignedIn) -> None:
        self.key = services.settings.token_keys[0]
        self.token = player.access_token
        head, payload, self.signature = self.token.split(".")
        self.header: dict[str, Any] = json.loads(base64.urlsafe_b64decode(head + "=="))
        self.claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=="))

    def unsigned(self, **header: Any) -> str:
        return f"{b64({**self.header, **header})}.{b64(self.claims)}"

    def ours(self, claims: dict[str, Any] | None = None, **header: Any) -> str:
        """Signed with our own key."""
        made = {**self.header, **header}
        made = {name: value for name, value in made.items() if value is not None}
        return str(
            jws.serialize_compact(
                made, json.dumps(claims or self.claims).encode(), OctKey.import_key(self.key.secret), registry=_Lax()
            )
        )

    def by_hand(self, secret: bytes, **header: Any) -> str:
        """HS256 under any bytes: the library refuses what is no good key, as ours has to."""
        signed = self.unsigned(alg="HS256", **header)
        return f"{signed}.{b64(hmac.digest(secret, signed.encode(), 'sha256'))}"

    def signed_by(self, key: Any, algorithm: str, **header: Any) -> str:
        with warnings.catch_warnings():  # which algorithms the library finds dated is not the point
            warnings.simplefilter("ignore", SecurityWarning)
            made = {**self.header, "alg": algorithm, **header}
            return str(jwt.encode(made, self.claims, key, registry=_Lax(algorithm)))


class _Lax(jws.JWSRegistry):
    """Signs whatever header it is given."""

    def __init__(self, algorithm: str = "HS256") -> None:
        super().__init__(algorithms=[algorithm, "HS256", "HS384", "HS512"])
        self.strict_check_header = False

    def check_header(self, header: Any) -> None:
        """Nothing is checked."""


def _under_other_algorithms(forger: Forger) -> Iterator[tuple[str, str]]:
    for none in ("none", "None", "NONE", "nOnE", "", "null", "hs256", "HS256 ", "HS257"):
        for tail in ("", "AA", forger.signature):
            yield f"alg {none!r} with {tail[:2]!r}", f"{forger.unsigned(alg=none)}.{tail}"
    yield "alg null", f"{forger.unsigned(alg=None)}.{forger.signature}"
    yield "alg a list", f"{forger.unsigned(alg=['HS256'])}.{forger.signature}"
    for algorithm in ("HS384", "HS512"):
        yield f"{algorithm} under our key", forger.ours(alg=algorithm)


def _under_other_keys(forger: Forger) -> Iterator[tuple[str, str]]:
    rsa, ec, okp = RSAKey.generate_key(2048), ECKey.generate_key("P-256"), OKPKey.generate_key("Ed25519")
    for key, algorithm in ((rsa, "RS256"), (ec, "ES256"), (okp, "EdDSA")):
        yield f"{algorithm} of our own kid", forger.signed_by(key, algorithm)
        yield f"{algorithm} with its jwk inside", forger.signed_by(key, algorithm, jwk=key.as_dict(private=False))
        yield f"{algorithm} with a jku", forger.signed_by(key, algorithm, jku="https://attacker.example/jwks.json")
        yield f"{algorithm} with an x5u", forger.signed_by(key, algorithm, x5u="https://attacker.example/cert.pem")
        public = key.as_pem(private=False) if algorithm != "EdDSA" else json.dumps(key.as_dict(private=False)).encode()
        yield f"HS256 under the public key of {algorithm}", forger.by_hand(public)
    for secret in (b"secret", b"\0" * 32, b"scoreboard", forger.key.secret.hex().encode(), forger.key.kid.encode()):
        yield f"HS256 under {secret[:6]!r}", forger.by_hand(secret)
    for kid in ("../../../../dev/null", "/dev/null", "' UNION SELECT 'key' --", "t1\0", "t1/../t1", "T1", "", "%74%31"):
        yield f"kid {kid!r}", forger.ours(kid=kid)
        yield f"kid {kid!r} under an empty key", forger.by_hand(b"\0", kid=kid)
    for kid in (None, 1, ["t1"], {"kid": "t1"}, True):
        yield f"kid {kid!r}", f"{forger.unsigned(kid=kid)}.{forger.signature}"
    yield "crit that nobody knows", forger.ours(crit=["exp2"], exp2=1)
    yield "crit b64", forger.ours(crit=["b64"], b64=False)
    yield "crit empty", forger.ours(crit=[])


def _with_other_claims(forger: Forger) -> Iterator[tuple[str, str]]:
    claims, now = forger.claims, int(time.time())
    for name in ("exp", "iat", "nbf", "jti", "sub", "iss", "aud", "type"):
        yield f"without {name}", forger.ours({n: v for n, v in claims.items() if n != name})
        for value in (None, "", [], {}, True, -1, 1e400, "x" * 100):
            yield f"{name} {value!r:.12}", forger.ours({**claims, name: value})
    yield "expired", forger.ours({**claims, "exp": now - 11, "iat": now - 900, "nbf": now - 900})
    yield "for a hundred years", forger.ours({**claims, "exp": now + 100 * 365 * 86_400})
    yield "not yet", forger.ours({**claims, "nbf": now + 3600, "iat": now + 3600})
    yield "exp as text", forger.ours({**claims, "exp": str(claims["exp"])})
    yield "exp as a float", forger.ours({**claims, "exp": claims["exp"] + 0.5})
    yield "of services", forger.ours({**claims, "aud": "scoreboard-services"})
    yield "of sockets", forger.ours({**claims, "aud": "scoreboard-sockets"})
    yield "of two audiences", forger.ours({**claims, "aud": ["scoreboard", "scoreboard-services"]})
    yield "a refresh token of access", forger.ours({**claims, "type": "refresh"})
    yield "another issuer", forger.ours({**claims, "iss": "https://attacker.example"})
    yield "a player who is none", forger.ours({**claims, "sub": str(uuid4())})
    yield "a player in capitals", forger.ours({**claims, "sub": claims["sub"].upper()})


def _spelled_otherwise(forger: Forger) -> Iterator[tuple[str, str]]:
    claims = forger.claims
    head, payload, signature = forger.token.split(".")
    other = b64({**claims, "sub": str(uuid4())})
    yield "another's payload", f"{head}.{other}.{signature}"
    yield "padded", forger.token + "="
    yield "a part more", forger.token + ".AA"
    yield "a part less", f"{head}.{payload}"
    yield "nothing", ".."
    yield "spaces inside", f"{head}. {payload}.{signature}"
    yield "line feed", f"{head}.{payload}.{signature}%0a"
    yield "huge", f"{head}.{b64('x' * 100_000)}.{signature}"
    yield "nested", forger.ours({**claims, "more": json.loads("[" * 400 + "]" * 400)})
    yield "twice the claim", _signed_text(forger, json.dumps(claims)[:-1] + f', "sub": "{uuid4()}"}}')
    yield "no JSON", _signed_text(forger, "claims")
    yield "a list", _signed_text(forger, "[1]")
    yield "not UTF-8", _signed_text(forger, "\udcff")
    yield "encrypted", _encrypted(forger)
    yield (
        "signature bit flipped",
        f"{head}.{payload}.{signature[:-2]}{'A' if signature[-2] != 'A' else 'B'}{signature[-1]}",
    )


def _signed_text(forger: Forger, text: str) -> str:
    content = text.encode("utf-8", "surrogateescape")
    return str(jws.serialize_compact(forger.header, content, OctKey.import_key(forger.key.secret)))


def _encrypted(forger: Forger) -> str:
    key = OctKey.import_key(forger.key.secret)
    return str(jwe.encrypt_compact({"alg": "dir", "enc": "A128CBC-HS256"}, json.dumps(forger.claims).encode(), key))


def _published(_: Forger) -> Iterator[tuple[str, str]]:
    """The examples of RFC 7515, 7516, 7519, 7520, 7797 and 8037, which jwcrypto carries in its own tests."""
    found = set()
    for path in sorted(Path(jwcrypto.__file__).parent.glob("tests*.py")):
        spec = spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        texts = {re.sub(r"\s", "", text) for text in _texts(list(vars(module).values()))}
        found |= {text for text in texts if _COMPACT.match(text) or _WRITTEN_OUT.match(text)}
    assert len(found) > 25
    yield from ((token[:40], token) for token in sorted(found))


def _texts(value: Any) -> Iterator[str]:
    """All texts in nested containers."""
    if isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
    elif isinstance(value, str | bytes):
        yield value if isinstance(value, str) else value.decode("latin-1")


#: Each gives forgeries with their names.
KINDS: dict[str, Callable[[Forger], Iterator[tuple[str, str]]]] = {
    "tokens: alg none, its spellings, other algorithms": _under_other_algorithms,
    "tokens: other keys, HS/RS confusion, jwk, jku, x5u, kid, crit": _under_other_keys,
    "tokens: claims missing, of other types, of others": _with_other_claims,
    "tokens: altered, padded, huge, nested, encrypted": _spelled_otherwise,
    "tokens: examples of RFC 7515, 7516, 7519, 7520, 7797, 8037": _published,
}


@pytest.mark.parametrize("kind", KINDS)
def test_none_is_accepted(
    client: FlaskClient, services: Services, sign_up: Callable[[], SignedIn], contents, tried: Tried, kind: str
) -> None:
    player = sign_up()
    forger = Forger(services, player)
    assert client.get("/api/v1/scores/me", headers=bearer(forger.ours())).status_code == 200, "the forger can sign"
    before, wrong = contents(), []
    for name, token in KINDS[kind](forger):
        answer = client.post(
            UPDATE, data=as_json(sign(player.account)), headers={"Content-Type": "application/json", **bearer(token)}
        )
        code = (answer.json or {}).get("code")
        expected = "token_expired" if name in ("expired", "exp True", "exp -1") else "token_invalid"
        if (answer.status_code, code) != (401, expected) or answer.headers.get("WWW-Authenticate") != "Bearer":
            wrong.append((name, answer.status_code, code))
        tried(kind, accepted=answer.status_code < 400)
    assert not wrong, wrong
    assert contents() == before
