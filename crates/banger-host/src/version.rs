//! The versions of programs that run machines.

use std::fmt;
use std::time::Duration;

use banger_exec::{Command, Runner, Tool};

/// How long it may take to say its version.
const LIMIT: Duration = Duration::from_secs(5);

/// Major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub(crate) u32, pub(crate) u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The oldest version that is tested. Older ones may lack what our machine is made of, and were
/// never seen to work.
#[must_use]
pub fn oldest(tool: Tool) -> Option<Version> {
    match tool {
        // Debian 12's.
        Tool::QemuSystem => Some(Version(7, 2)),
        Tool::Firecracker => Some(Version(1, 12)),
        _ => None,
    }
}

/// The version of the program that would be run, if it says one.
#[must_use]
pub fn version(runner: &dyn Runner, tool: Tool) -> Option<Version> {
    let command = Command::new(tool).arg("--version").timeout(LIMIT);
    let output = runner.capture(&command).ok()?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// Reads `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)` and `Firecracker v1.12.1`:
/// the first word that is one.
fn parse(text: &str) -> Option<Version> {
    text.split_whitespace().find_map(|word| {
        let mut numbers = word.strip_prefix('v').unwrap_or(word).split('.');
        Some(Version(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        let read = |text: &str| parse(text).unwrap();
        let debian = read("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright");
        assert_eq!(Some(debian), oldest(Tool::QemuSystem));
        assert!(read("QEMU emulator version 10.0.2") > debian);
        assert!(read("QEMU emulator version 5.2.0") < debian);
        assert_eq!(read("Firecracker v1.12.1\n\nexiting"), Version(1, 12));
        for garbage in ["", "QEMU", "QEMU emulator version x.y", "a version 7"] {
            assert_eq!(parse(garbage), None, "{garbage}");
        }
    }
}
