//! The decision about a request, pure.
