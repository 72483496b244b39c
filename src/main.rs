//! The binary: parse the command line, hand over.

fn main() {}
