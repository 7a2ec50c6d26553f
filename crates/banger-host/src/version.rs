//! The version of QEMU.

use std::fmt;
use std::time::Duration;

use banger_exec::{Command, Runner, Tool};

/// The oldest that is tested: Debian 12's. Older ones lack what our machine is made of, or
/// were never seen to work.
pub const OLDEST_QEMU: QemuVersion = QemuVersion(7, 2);

/// How long it may take to say its version.
const LIMIT: Duration = Duration::from_secs(5);

/// Major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QemuVersion(pub(crate) u32, pub(crate) u32);

impl fmt::Display for QemuVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The version of the QEMU that would be run, if it says one.
#[must_use]
pub fn qemu_version(runner: &dyn Runner) -> Option<QemuVersion> {
    let command = Command::new(Tool::QemuSystem).arg("--version").timeout(LIMIT);
    let output = runner.capture(&command).ok()?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// Reads `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)`.
fn parse(text: &str) -> Option<QemuVersion> {
    let rest = text.split_once(" version ")?.1;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
    Some(QemuVersion(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        let read = |text: &str| parse(text).unwrap();
        let debian = read("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright");
        assert_eq!(debian, OLDEST_QEMU);
        assert!(read("QEMU emulator version 10.0.2") > OLDEST_QEMU);
        assert!(read("QEMU emulator version 5.2.0") < OLDEST_QEMU);
        for garbage in ["", "QEMU", "QEMU emulator version x.y", "a version 7"] {
            assert_eq!(parse(garbage), None, "{garbage}");
        }
    }
}
