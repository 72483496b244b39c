<?php
// An application behind Menshen: it has no login of its own and believes nothing but the assertion.
//
//   php -S 127.0.0.1:3000 index.php
//
// On loopback: whoever can reach an application past the gateway can send it any plain header.
// PHP's own OpenSSL, no packages. It accepts ES256, which is what Menshen signs with unless told otherwise. With
// firebase/php-jwt the signature is JWT::decode with JWK::parseKeySet; `iss` and `aud` are still yours to compare.

declare(strict_types=1);

final class Verifier
{
    private const LEEWAY = 5; // seconds by which the clocks may differ

    /** @param string $issuer public_url of the gateway; @param string $audience audience of this site */
    public function __construct(private string $issuer, private string $audience)
    {
    }

    /** The claims of a valid assertion; throws for everything else. */
    public function signedIn(string $assertion): array
    {
        $parts = explode('.', $assertion);
        if (count($parts) !== 3) {
            throw new UnexpectedValueException('no assertion');
        }
        $header = self::read($parts[0]);
        // The one algorithm that is meant, never what the token asks for.
        if (($header['alg'] ?? null) !== 'ES256') {
            throw new UnexpectedValueException('algorithm not accepted');
        }
        $key = $this->key((string) ($header['kid'] ?? ''));
        $signature = self::decode($parts[2]);
        if (strlen($signature) !== 64) {
            throw new UnexpectedValueException('malformed signature');
        }
        if (openssl_verify("$parts[0].$parts[1]", self::der($signature), $key, OPENSSL_ALGO_SHA256) !== 1) {
            throw new UnexpectedValueException('wrong signature');
        }
        $claims = self::read($parts[1]);
        $now = time();
        match (true) {
            ($claims['iss'] ?? null) !== $this->issuer => throw new UnexpectedValueException('another issuer'),
            ($claims['aud'] ?? null) !== $this->audience => throw new UnexpectedValueException('for another application'),
            ($claims['exp'] ?? 0) <= $now - self::LEEWAY => throw new UnexpectedValueException('expired'),
            ($claims['nbf'] ?? PHP_INT_MAX) > $now + self::LEEWAY => throw new UnexpectedValueException('not valid yet'),
            default => null,
        };
        return $claims;
    }

    private function key(string $id): OpenSSLAsymmetricKey
    {
        foreach ($this->keySet() as $jwk) {
            if (($jwk['kid'] ?? null) === $id && ($jwk['crv'] ?? null) === 'P-256') {
                // SubjectPublicKeyInfo of a P-256 key (RFC 5480): everything before the two coordinates is fixed.
                $der = hex2bin('3059301306072a8648ce3d020106082a8648ce3d03010703420004');
                $der .= self::decode($jwk['x']) . self::decode($jwk['y']);
                $key = openssl_pkey_get_public(
                    "-----BEGIN PUBLIC KEY-----\n" . chunk_split(base64_encode($der), 64, "\n") . '-----END PUBLIC KEY-----'
                );
                return $key ?: throw new UnexpectedValueException('a key of the gateway cannot be read');
            }
        }
        throw new UnexpectedValueException('not a key of the gateway');
    }

    /** Kept for five minutes where APCu is installed: a new key is published an hour before it signs. */
    private function keySet(): array
    {
        $address = "$this->issuer/.menshen/jwks.json";
        $keys = function_exists('apcu_fetch') ? apcu_fetch($address) : false;
        if ($keys === false) {
            $text = file_get_contents($address, false, stream_context_create(['http' => ['timeout' => 5]]));
            if ($text === false) {
                throw new UnexpectedValueException("the gateway's keys cannot be read");
            }
            $keys = json_decode($text, true, flags: JSON_THROW_ON_ERROR)['keys'];
            if (function_exists('apcu_store')) {
                apcu_store($address, $keys, 300);
            }
        }
        return $keys;
    }

    /** OpenSSL wants the two numbers of a signature as ASN.1; a token has them side by side (RFC 7518, section 3.4). */
    private static function der(string $signature): string
    {
        $integer = static function (string $bytes): string {
            $bytes = ltrim($bytes, "\0");
            if ($bytes === '' || ord($bytes[0]) > 0x7f) {
                $bytes = "\0$bytes";
            }
            return "\x02" . chr(strlen($bytes)) . $bytes;
        };
        $both = $integer(substr($signature, 0, 32)) . $integer(substr($signature, 32));
        return "\x30" . chr(strlen($both)) . $both;
    }

    private static function read(string $part): array
    {
        $read = json_decode(self::decode($part), true, flags: JSON_THROW_ON_ERROR);
        return is_array($read) ? $read : throw new UnexpectedValueException('not a token');
    }

    private static function decode(string $part): string
    {
        $decoded = base64_decode(strtr($part, '-_', '+/'), true);
        return $decoded === false ? throw new UnexpectedValueException('not a token') : $decoded;
    }
}

$verifier = new Verifier(
    getenv('MENSHEN_ISSUER') ?: 'http://127.0.0.1:8080',
    getenv('MENSHEN_AUDIENCE') ?: 'demo',
);
header('Content-Type: text/plain; charset=utf-8');
try {
    $person = $verifier->signedIn($_SERVER['HTTP_X_MENSHEN_ASSERTION'] ?? '');
    $name = $person['name'] ?? $person['preferred_username'] ?? $person['sub'];
    $groups = implode(', ', $person['groups']) ?: 'none';
    echo "Hello $name, your groups are $groups.\n";
} catch (Exception $reason) {
    http_response_code(403);
    echo "Not from the gateway: {$reason->getMessage()}\n";
}
