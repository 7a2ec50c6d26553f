//! The list of packages in an image.

use std::path::Path;

use crate::ext4::{Disk, PatchError};

/// No database of packages is longer.
const DATABASE_MAX: u64 = 64 << 20;
const DPKG: &str = "/var/lib/dpkg/status";

/// The packages in a root, as one `name version architecture` a line, sorted; none if it has no
/// database of them that is known here.
///
/// # Errors
/// The root cannot be read.
pub fn read(root: &Disk<'_>) -> Result<Option<String>, PatchError> {
    let text = |path: &str| root.read(Path::new(path), DATABASE_MAX);
    Ok(text(DPKG)?.map(|status| from_dpkg_status(&String::from_utf8_lossy(&status))))
}

/// The installed packages in dpkg's status file (deb-control(5), dpkg(1)), one
/// `name version architecture` a line, sorted.
#[must_use]
pub fn from_dpkg_status(status: &str) -> String {
    let mut lines: Vec<_> = status.split("\n\n").filter_map(package).collect();
    lines.sort_unstable();
    lines.concat()
}

fn package(paragraph: &str) -> Option<String> {
    let field = |name: &str| {
        let mut lines = paragraph.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    // "want flag state": a package that is on hold is installed, too.
    if field("Status")?.split_whitespace().nth(2) != Some("installed") {
        return None;
    }
    Some(format!("{} {} {}\n", field("Package")?, field("Version")?, field("Architecture")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn installed_packages_are_listed_in_order() {
        let status = "\
Package: tar
Status: install ok installed
Architecture: amd64
Version: 1.34+dfsg-1.2
Description: GNU tar
 Status: deinstall ok config-files

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: adduser
Status: hold ok installed
Architecture: all
Version: 3.134
";
        insta::assert_snapshot!(from_dpkg_status(status), @r"
        adduser 3.134 all
        tar 1.34+dfsg-1.2 amd64
        ");
    }

    proptest! {
        #[test]
        fn any_text_gives_sorted_lines_of_three_words(text in "((Package|Status|Version|X): ?[a-z ]{0,20}\n{1,2})*|\\PC*") {
            let list = from_dpkg_status(&text);
            prop_assert!(list.lines().is_sorted());
        }
    }
}
