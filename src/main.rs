//! The binary: parse the command line, hand over.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Pingora takes some ninety pieces of memory for a request, one of them of 64 KiB (docs/performance.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    menshen::cli::main()
}
