"""An application behind Menshen: it has no login of its own and believes nothing but the assertion.

    pip install -r requirements.txt
    python app.py
"""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

ISSUER = os.environ.get("MENSHEN_ISSUER", "http://127.0.0.1:8080")  # public_url of the gateway
AUDIENCE = os.environ.get("MENSHEN_AUDIENCE", "demo")  # audience of this site

# Fetches the public keys once, and again when an assertion names a key that is not among them.
keys = jwt.PyJWKClient(f"{ISSUER}/.menshen/jwks.json", lifespan=3600, timeout=5)


def signed_in(assertion: str) -> dict:
    """The claims of a valid assertion; jwt.PyJWTError for everything else."""
    return jwt.decode(
        assertion,
        keys.get_signing_key_from_jwt(assertion).key,
        # From this list, never from the token: else a token could choose how it is checked.
        algorithms=["ES256", "EdDSA", "RS256"],
        issuer=ISSUER,
        audience=AUDIENCE,
        leeway=5,
        options={"require": ["exp", "iat", "iss", "aud", "sub"]},
    )


class Application(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        try:
            person = signed_in(self.headers.get("X-Menshen-Assertion", ""))
        except jwt.PyJWTError as reason:
            self.answer(403, f"Not from the gateway: {reason}\n")
            return
        name = person.get("name") or person.get("preferred_username") or person["sub"]
        self.answer(200, f"Hello {name}, your groups are {', '.join(person['groups']) or 'none'}.\n")

    def answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    # On loopback: whoever can reach an application past the gateway can send it any plain header.
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "3000"))), Application).serve_forever()
