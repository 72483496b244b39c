// An application behind Menshen: it has no login of its own and believes nothing but the assertion.
//
//   node app.mjs
//
// Node's own cryptography, no packages. With `jose` the same is createRemoteJWKSet and jwtVerify.

import { createPublicKey, verify } from "node:crypto";
import { createServer } from "node:http";

const ISSUER = process.env.MENSHEN_ISSUER ?? "http://127.0.0.1:8080"; // public_url of the gateway
const AUDIENCE = process.env.MENSHEN_AUDIENCE ?? "demo"; // audience of this site
const LEEWAY = 5; // seconds by which the clocks may differ

// From this table, never from the token alone: else a token could choose how it is checked.
const ALGORITHMS = {
  ES256: { hash: "sha256", type: "EC", dsaEncoding: "ieee-p1363" },
  EdDSA: { hash: null, type: "OKP" },
  RS256: { hash: "sha256", type: "RSA" },
};

/** The claims of a valid assertion; throws for everything else. */
export async function signedIn(assertion) {
  const parts = (assertion ?? "").split(".");
  if (parts.length !== 3) throw new Error("no assertion");
  const { alg, kid } = read(parts[0]);
  if (!Object.hasOwn(ALGORITHMS, alg)) throw new Error("algorithm not accepted");
  const { hash, type, dsaEncoding } = ALGORITHMS[alg];
  const jwk = await key(kid);
  if (jwk?.kty !== type) throw new Error("not a key of the gateway");
  const signed = Buffer.from(`${parts[0]}.${parts[1]}`);
  const signature = Buffer.from(parts[2], "base64url");
  if (!verify(hash, signed, { key: createPublicKey({ key: jwk, format: "jwk" }), dsaEncoding }, signature)) {
    throw new Error("wrong signature");
  }
  const claims = read(parts[1]);
  const now = Date.now() / 1000;
  if (claims.iss !== ISSUER) throw new Error("another issuer");
  if (claims.aud !== AUDIENCE) throw new Error("for another application");
  if (!(claims.exp > now - LEEWAY)) throw new Error("expired");
  if (!(claims.nbf <= now + LEEWAY)) throw new Error("not valid yet");
  return claims;
}

const read = (part) => JSON.parse(Buffer.from(part, "base64url").toString("utf8"));

let keys = [];
let fetched = -Infinity;

/** A key by its id; the set is fetched again when it is missing, but not for every forged token. */
async function key(kid) {
  const find = () => keys.find((jwk) => jwk.kid === kid);
  if (!find() && performance.now() - fetched > 5_000) {
    const answer = await fetch(`${ISSUER}/.menshen/jwks.json`, { signal: AbortSignal.timeout(5_000) });
    if (!answer.ok) throw new Error("the gateway's keys cannot be read");
    keys = (await answer.json()).keys;
    fetched = performance.now();
  }
  return find();
}

const application = createServer(async (request, response) => {
  response.setHeader("Content-Type", "text/plain; charset=utf-8");
  try {
    const person = await signedIn(request.headers["x-menshen-assertion"]);
    const name = person.name ?? person.preferred_username ?? person.sub;
    response.end(`Hello ${name}, your groups are ${person.groups.join(", ") || "none"}.\n`);
  } catch (reason) {
    response.writeHead(403).end(`Not from the gateway: ${reason.message}\n`);
  }
});

// On loopback: whoever can reach an application past the gateway can send it any plain header.
application.listen(Number(process.env.PORT ?? 3000), "127.0.0.1");
