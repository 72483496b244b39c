//! The two bytes by which a scene says which connection it belongs to.

/// First two bytes of SHA-256 over the connection id. `check` refuses two connections with one tag.
pub fn connection_tag(id: &str) -> [u8; 2] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, id.as_bytes());
    let bytes = digest.as_ref();
    [bytes[0], bytes[1]]
}
