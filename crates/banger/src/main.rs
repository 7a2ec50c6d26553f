//! `banger`: see the library beside it.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    banger::main()
}
