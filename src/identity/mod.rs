//! What an upstream learns about a person: assertion, headers, signing keys.
