// An application behind Menshen: it has no login of its own and believes nothing but the assertion.
//
//	go run .
//
// Go's own cryptography, no modules. It accepts ES256, which is what Menshen signs with unless told otherwise.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Person is what the gateway says about whoever sent a request.
type Person struct {
	Issuer    string   `json:"iss"`
	Audience  string   `json:"aud"`
	ID        string   `json:"sub"`
	Username  string   `json:"preferred_username"`
	Name      string   `json:"name"`
	Groups    []string `json:"groups"`
	Expires   int64    `json:"exp"`
	NotBefore int64    `json:"nbf"`
}

// Verifier checks the assertions of one gateway for one application.
type Verifier struct {
	Issuer   string // public_url of the gateway
	Audience string // audience of this site

	mutex   sync.Mutex
	keys    map[string]*ecdsa.PublicKey
	fetched time.Time
}

// SignedIn returns the person of a valid assertion and an error for everything else.
func (v *Verifier) SignedIn(assertion string) (*Person, error) {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return nil, errors.New("no assertion")
	}
	var header struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}
	if err := read(parts[0], &header); err != nil {
		return nil, err
	}
	// The one algorithm that is meant, never what the token asks for.
	if header.Algorithm != "ES256" {
		return nil, errors.New("algorithm not accepted")
	}
	key, err := v.key(header.KeyID)
	if err != nil {
		return nil, err
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || len(signature) != 64 {
		return nil, errors.New("malformed signature")
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	if !ecdsa.Verify(key, digest[:], r, s) {
		return nil, errors.New("wrong signature")
	}
	person := new(Person)
	if err := read(parts[1], person); err != nil {
		return nil, err
	}
	const leeway = 5 // seconds by which the clocks may differ
	now := time.Now().Unix()
	switch {
	case person.Issuer != v.Issuer:
		return nil, errors.New("another issuer")
	case person.Audience != v.Audience:
		return nil, errors.New("for another application")
	case person.Expires <= now-leeway:
		return nil, errors.New("expired")
	case person.NotBefore > now+leeway:
		return nil, errors.New("not valid yet")
	}
	return person, nil
}

// key finds a key by its id. The set is fetched again when it is missing, but not for every forged token.
func (v *Verifier) key(id string) (*ecdsa.PublicKey, error) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	if v.keys[id] == nil && time.Since(v.fetched) > 5*time.Second {
		keys, err := fetch(v.Issuer + "/.menshen/jwks.json")
		if err != nil {
			return nil, err
		}
		v.keys, v.fetched = keys, time.Now()
	}
	if key := v.keys[id]; key != nil {
		return key, nil
	}
	return nil, errors.New("not a key of the gateway")
}

func fetch(address string) (map[string]*ecdsa.PublicKey, error) {
	client := http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get(address)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", address, answer.Status)
	}
	var set struct {
		Keys []struct {
			ID    string `json:"kid"`
			Curve string `json:"crv"`
			X, Y  string
		}
	}
	if err := json.NewDecoder(answer.Body).Decode(&set); err != nil {
		return nil, err
	}
	keys := make(map[string]*ecdsa.PublicKey)
	for _, key := range set.Keys {
		x, errX := base64.RawURLEncoding.DecodeString(key.X)
		y, errY := base64.RawURLEncoding.DecodeString(key.Y)
		if key.Curve != "P-256" || errX != nil || errY != nil {
			continue // of another algorithm
		}
		public := &ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int).SetBytes(x), Y: new(big.Int).SetBytes(y)}
		if public.Curve.IsOnCurve(public.X, public.Y) {
			keys[key.ID] = public
		}
	}
	return keys, nil
}

func read(part string, into any) error {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return errors.New("not a token")
	}
	return json.Unmarshal(text, into)
}

func main() {
	verifier := &Verifier{
		Issuer:   setting("MENSHEN_ISSUER", "http://127.0.0.1:8080"),
		Audience: setting("MENSHEN_AUDIENCE", "demo"),
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		person, err := verifier.SignedIn(r.Header.Get("X-Menshen-Assertion"))
		if err != nil {
			http.Error(w, "Not from the gateway: "+err.Error(), http.StatusForbidden)
			return
		}
		name := person.Name
		if name == "" {
			name = person.Username
		}
		if name == "" {
			name = person.ID
		}
		groups := strings.Join(person.Groups, ", ")
		if groups == "" {
			groups = "none"
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, "Hello %s, your groups are %s.\n", name, groups)
	})
	// On loopback: whoever can reach an application past the gateway can send it any plain header.
	log.Fatal(http.ListenAndServe("127.0.0.1:"+setting("PORT", "3000"), nil))
}

func setting(name, standard string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return standard
}
