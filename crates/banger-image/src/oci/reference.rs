//! Names of images, as Docker reads them (the grammar of `distribution/reference`).

use std::fmt;
use std::str::FromStr;

use super::digest::Digest;

const HUB: &str = "docker.io";

/// Where an image is: a registry, a repository in it, and a tag or digest. Shown in full, as in
/// `docker.io/library/alpine:latest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Text that names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not the name of an image: {reason}")]
pub struct InvalidReference {
    /// What was given.
    pub text: String,
    /// What is wrong with it, and how it should be.
    pub reason: &'static str,
}

impl Reference {
    /// The registry's name, as in the configuration of Docker; with its port, if one was given.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The host, and the port if one was given, that answers for the registry.
    #[must_use]
    pub fn host(&self) -> &str {
        if self.registry == HUB { "registry-1.docker.io" } else { &self.registry }
    }

    /// The repository in the registry.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was given; `latest` if neither it nor a digest was.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, which says more than the tag.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same image, whatever becomes of its tag.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// Whether the registry is on this machine: only such a one is spoken to without TLS.
    #[must_use]
    pub fn is_local(&self) -> bool {
        is_loopback(self.host())
    }
}

/// Whether a host, with a port or without, is this machine.
pub(super) fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        parse(text)
            .map_err(|reason| InvalidReference { text: text.chars().take(300).collect(), reason })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            let digest =
                digest.parse().map_err(|_| "its digest is not sha256:<64 hexadecimal digits>")?;
            (rest, Some(digest))
        }
        None => (text, None),
    };
    // A colon before the last slash is that of a port.
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err(
            "a tag has up to 128 letters, digits, '_', '.' and '-', and begins with none of the last two",
        );
    }
    let (registry, path) = match name.split_once('/') {
        Some((first, path)) if is_registry(first) => (first, path),
        _ => (HUB, name),
    };
    if !registry_is_valid(registry) {
        return Err("its registry is not a host name, with or without a port");
    }
    let registry = if registry == "index.docker.io" { HUB } else { registry };
    if !path.split('/').all(is_component) {
        return Err(
            "the parts of a name have lower-case letters and digits, with '.', '_', '__' or '-' between them",
        );
    }
    if registry == HUB && path.len() == 64 && path.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("that is the id of an image on one machine; a registry is asked by a name");
    }
    let library = if registry == HUB && !path.contains('/') { "library/" } else { "" };
    let repository = format!("{library}{path}");
    if registry.len() + 1 + repository.len() > 255 {
        return Err("a name has up to 255 characters");
    }
    let latest = (digest.is_none()).then_some("latest");
    let tag = tag.or(latest).map(str::to_owned);
    Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
}

/// Whether what comes before the first slash is a registry, not a part of a name on Docker Hub.
fn is_registry(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':'])
        || first.contains(|c: char| c.is_ascii_uppercase())
}

fn registry_is_valid(registry: &str) -> bool {
    let port = |port: &str| port.parse::<u16>().is_ok() && !port.starts_with('+');
    if let Some(rest) = registry.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else { return false };
        return address.parse::<std::net::Ipv6Addr>().is_ok()
            && (rest.is_empty() || rest.strip_prefix(':').is_some_and(port));
    }
    let (host, number) = registry.split_once(':').map_or((registry, None), |(h, p)| (h, Some(p)));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label) && number.is_none_or(port)
}

fn is_component(part: &str) -> bool {
    let alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let between =
        |sep: &str| matches!(sep, "" | "." | "_" | "__") || sep.bytes().all(|b| b == b'-');
    part.starts_with(alnum) && part.ends_with(alnum) && part.split(alnum).all(between)
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_short_name_means_what_docker_takes_it_for() {
        let hex = "a".repeat(64);
        let full = |text: &str| text.parse::<Reference>().unwrap().to_string().replace(&hex, "HEX");
        let digest = format!("sha256:{hex}");
        for (text, expected) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
            ("me/tool", "docker.io/me/tool:latest"),
            ("a__b/c.d/e--f_g", "docker.io/a__b/c.d/e--f_g:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("[::1]:5000/x:1", "[::1]:5000/x:1"),
            ("Host/x", "Host/x:latest"),
            (&format!("ghcr.io/a/b@{digest}"), "ghcr.io/a/b@sha256:HEX"),
            (&format!("ghcr.io/a/b:1.0@{digest}"), "ghcr.io/a/b:1.0@sha256:HEX"),
        ] {
            assert_eq!(full(text), expected, "{text}");
        }
        let hub: Reference = "alpine".parse().unwrap();
        assert_eq!((hub.registry(), hub.host()), ("docker.io", "registry-1.docker.io"));
        assert_eq!(hub.pinned(Digest::of(b"")).digest(), Some(Digest::of(b"")));
    }

    #[test]
    fn what_is_no_name_is_refused_with_a_reason() {
        let error = |text: &str| text.parse::<Reference>().unwrap_err().to_string();
        for text in [
            "",
            "/",
            "Alpine",
            "a/B",
            "a//b",
            "-a",
            "a-",
            "a___b",
            "a:",
            "a:-x",
            "a b",
            "../x",
            "a/..",
            "host.x:port/a",
            "host.x:99999/a",
            "-host.x/a",
            "[::1/a",
            "a@sha256:00",
            "https://x/y",
            "a:tag:tag",
            "a?b",
            "a\n",
            &"f".repeat(64),
            &"a/".repeat(200),
            &format!("a:{}", "x".repeat(129)),
        ] {
            error(text);
        }
        insta::assert_snapshot!(error("Alpine"), @"'Alpine' is not the name of an image: the parts of a name have lower-case letters and digits, with '.', '_', '__' or '-' between them");
        insta::assert_snapshot!(error("alpine@latest"), @"'alpine@latest' is not the name of an image: its digest is not sha256:<64 hexadecimal digits>");
    }

    #[test]
    fn only_this_machine_is_spoken_to_without_tls() {
        for local in ["localhost/x", "localhost:5000/x", "127.0.0.1:1/x", "127.9.9.9/x", "[::1]/x"]
        {
            assert!(local.parse::<Reference>().unwrap().is_local(), "{local}");
        }
        for remote in ["x", "10.0.0.1:5000/x", "localhost.example.com/x", "127.0.0.1.example.com/x"]
        {
            assert!(!remote.parse::<Reference>().unwrap().is_local(), "{remote}");
        }
    }

    proptest! {
        #[test]
        fn a_name_survives_a_round_trip(
            registry in "((localhost|[a-z]{1,5}(\\.[a-z0-9]{1,5}){1,2}|Host)(:[1-9][0-9]{0,3})?/)?",
            path in "[a-z0-9]{1,4}((__|[._]|-{1,3})[a-z0-9]{1,3})?(/[a-z0-9]{1,4}){0,2}",
            tag in "(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,6})?",
            digest in any::<bool>(),
        ) {
            let digest = if digest { format!("@{}", Digest::of(b"x")) } else { String::new() };
            let text = format!("{registry}{path}{tag}{digest}");
            let reference: Reference = text.parse().unwrap();
            prop_assert_eq!(reference.to_string().parse(), Ok(reference));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a-zA-Z0-9:/@._\\[\\]-]{0,40}|\\PC{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse(), Ok(reference));
            }
        }
    }
}
