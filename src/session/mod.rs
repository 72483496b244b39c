//! What a browser holds after a login.
