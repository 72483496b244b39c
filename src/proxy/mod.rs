//! Pingora: assembly, hooks, normaliser, client address, upstreams, responses.
