//! What an image is asked to be.

use std::path::Path;

use crate::apk::dependency::Dependency;
use crate::build::BuildError;
use crate::signed::{SignedRequest, refuse};

/// The package of the kernel.
pub(super) const KERNEL: &str = "linux-virt";
/// What every image has. Alpine's base has busybox, OpenRC and apk.
const PACKAGES: &[&str] =
    &["alpine-base", "ca-certificates", "e2fsprogs", "iproute2", "kmod", KERNEL, "openssh"];
/// What the opencode server needs beyond that.
const OPENCODE_PACKAGES: &[&str] = &["libgcc", "libstdc++"];

/// A key that a person trusts.
pub(super) struct OwnKey {
    pub name: String,
    pub pem: Vec<u8>,
}

/// Checks a request, and gives what is to be installed.
pub(super) fn check(request: &SignedRequest) -> Result<Vec<Dependency>, BuildError> {
    let release = &request.release;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    if !release.starts_with(|c: char| c.is_ascii_lowercase()) || !release.chars().all(plain) {
        return refuse("release of Alpine", release, "expected a name such as v3.22 or edge");
    }
    request.check_mirror()?;
    let opencode = OPENCODE_PACKAGES.iter().filter(|_| request.opencode);
    let names = PACKAGES.iter().chain(opencode).copied();
    let mut world: Vec<Dependency> = Vec::new();
    for name in names.chain(request.packages.iter().map(String::as_str)) {
        let Ok(dependency) = name.parse::<Dependency>() else {
            return refuse("package", name, "expected a name as apk knows it");
        };
        // apk's list has a name once; what a person says of it counts.
        world.retain(|before| before.name != dependency.name);
        world.push(dependency);
    }
    Ok(world)
}

/// Reads a key.
pub(super) fn own_key(path: &Path) -> Result<OwnKey, BuildError> {
    let pem = std::fs::read(path).map_err(BuildError::io("read the key", path))?;
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.filter(|name| !name.contains(char::is_control)).ok_or_else(|| {
        let reason = "its file has a name that nothing can be signed with";
        BuildError::Request { what: "key", value: path.display().to_string(), reason }
    })?;
    Ok(OwnKey { name: name.to_owned(), pem })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> SignedRequest {
        SignedRequest {
            name: "alpine".parse().unwrap(),
            release: super::super::DEFAULT_RELEASE.to_owned(),
            mirror: None,
            keys: Vec::new(),
            packages: Vec::new(),
            size: None,
            opencode: false,
            created_at: 0,
            step: None,
            parts: Path::new("parts").to_owned(),
            locks: Path::new("locks").to_owned(),
        }
    }

    #[test]
    fn a_request_adds_to_what_every_image_has() {
        let packages = ["curl", "kmod>30", "!openssl"].map(str::to_owned).to_vec();
        let world = check(&SignedRequest { packages, opencode: true, ..request() }).unwrap();
        let world: Vec<_> = world.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(world.join(" "), @"alpine-base ca-certificates e2fsprogs iproute2 linux-virt openssh libgcc libstdc++ curl kmod>30 !openssl");
    }

    #[test]
    fn a_request_that_makes_no_sense_is_refused() {
        let packages = |name: &str| vec![name.to_owned()];
        let wrong = [
            SignedRequest { release: "3.22".to_owned(), ..request() },
            SignedRequest { release: "v3/../..".to_owned(), ..request() },
            SignedRequest { mirror: Some("ftp://mirror.example".to_owned()), ..request() },
            SignedRequest { mirror: Some("http://mirror.example/ x".to_owned()), ..request() },
            SignedRequest { packages: packages("curl wget"), ..request() },
            SignedRequest { packages: packages("curl@edge"), ..request() },
        ];
        let said = wrong.map(|request| check(&request).unwrap_err().to_string());
        insta::assert_snapshot!(said.join("\n"), @"
        '3.22' is not a release of Alpine: expected a name such as v3.22 or edge
        'v3/../..' is not a release of Alpine: expected a name such as v3.22 or edge
        'ftp://mirror.example' is not a mirror: expected a URL of http or https
        'http://mirror.example/ x' is not a mirror: expected a URL of http or https
        'curl wget' is not a package: expected a name as apk knows it
        'curl@edge' is not a package: expected a name as apk knows it
        ");
    }
}
