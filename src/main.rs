//! The `daypass` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    daypass::cli::main()
}
