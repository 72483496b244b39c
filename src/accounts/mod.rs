//! Users, identities, and who a WeChat identity turns out to be.
