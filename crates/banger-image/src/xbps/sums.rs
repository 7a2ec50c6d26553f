//! The checksums of a release of Void: `sha256sum.txt`.

use std::collections::BTreeMap;

use crate::fetch::Checksum;

/// The checksums of files, by their names.
///
/// Lines are as BSD writes them, which Void does (`SHA256 (NAME) = HEX`), or as coreutils does
/// (`HEX  NAME`, sha256sum(1)). Whatever else is in the file is passed over, as by both programs.
#[must_use]
pub fn parse(file: &str) -> BTreeMap<String, Checksum> {
    file.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<(String, Checksum)> {
    let bsd = || line.strip_prefix("SHA256 (")?.rsplit_once(") = ");
    // After the one space is whether it was read as text or as bytes.
    let coreutils = || {
        let (hex, name) = line.split_once(' ')?;
        Some((name.strip_prefix([' ', '*'])?, hex))
    };
    let (name, hex) = bsd().or_else(coreutils)?;
    // A checksum can be written in other ways, but not here.
    let sum = hex.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| hex.parse().ok())??;
    (!name.is_empty()).then(|| (name.to_owned(), sum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_forms_are_read() {
        let sums = parse(include_str!("testdata/sha256sum.txt"));
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let sum: Checksum = hex.parse().unwrap();
        assert_eq!(sums.len(), 2);
        assert_eq!(sums["void-x86_64-ROOTFS-20250202.tar.xz"], sum);
        assert_eq!(parse(&format!("{hex}  a b\n{hex} *c\r\n"))["a b"], sum);
        assert_eq!(parse(&format!("{hex}  a b\n{hex} *c\r\n"))["c"], sum);
    }

    #[test]
    fn other_lines_are_passed_over() {
        let hex = "00".repeat(32);
        let file = format!("\nSHA512 (a) = {hex}\nSHA256 (a) = sha256:{hex}\n{hex} a\n{hex}  \n");
        assert_eq!(parse(&file), BTreeMap::new());
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "((SHA256 \\()?[0-9a-f]{60,66}[ *]{0,2}(\\) = )?\\PC{0,9}\n)*|\\PC*") {
            let _ = parse(&text);
        }
    }
}
