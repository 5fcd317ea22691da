//! The `geofront` binary: everything is in the library.

use std::process::ExitCode;

/// Pingora allocates a 64 KiB body buffer for every upstream answer. The system allocator maps and
/// unmaps it each time; mimalloc keeps it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    geofront::cli::main()
}
