//! The two bytes by which a scene says which connection it belongs to.
//!
//! A scene has room for two bytes only, so two ids of one file may collide by chance (one in 65,536 for a pair);
//! loading refuses that, and one of them takes another id.

use aws_lc_rs::digest::{SHA256, digest};

/// First two bytes of SHA-256 over the connection's id.
pub fn connection_tag(id: &str) -> [u8; 2] {
    let hash = digest(&SHA256, id.as_bytes());
    match *hash.as_ref() {
        [first, second, ..] => [first, second],
        _ => [0, 0],
    }
}

#[cfg(test)]
mod tests {
    use super::connection_tag;

    #[test]
    fn tag_is_the_start_of_sha_256() {
        // FIPS 180-4: SHA-256("abc") begins with ba 78, SHA-256("") with e3 b0.
        assert_eq!(connection_tag("abc"), [0xba, 0x78]);
        assert_eq!(connection_tag(""), [0xe3, 0xb0]);
    }
}
