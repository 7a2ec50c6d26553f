//! What this person's Docker knows of registries: `config.json` (docker(1), "Configuration files").

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::reference::Reference;

/// Whom a registry takes us for.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password.
    Basic {
        /// The name.
        user: String,
        /// The password, or a token in its place.
        password: String,
    },
    /// A token with which the registry's token server gives others (distribution, "Authenticate
    /// with OAuth2").
    Identity(String),
}

impl fmt::Debug for Credentials {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { user, .. } => write!(f, "Basic({user})"),
            Self::Identity(_) => f.write_str("Identity"),
        }
    }
}

/// What is known of a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Whom it takes us for; nobody otherwise.
    pub credentials: Option<Credentials>,
    /// The program that may have the credentials. banger does not run it, and asks as nobody: see
    /// [`super::PullError::Denied`].
    pub helper: Option<String>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// It cannot be read.
    #[error("cannot read Docker's configuration {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It is not such a file.
    #[error("{} is not a configuration of Docker's: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct File {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    identitytoken: String,
}

/// The folder of Docker's configuration: `$DOCKER_CONFIG`, else `~/.docker`.
#[must_use]
pub fn config_folder() -> Option<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    var("DOCKER_CONFIG").or_else(|| Some(var("HOME")?.join(".docker")))
}

/// What the `config.json` in `folder` knows of the registry of an image; nothing if there is no
/// such file.
///
/// # Errors
/// The file cannot be read, or is not what it should be.
pub fn known(folder: &Path, reference: &Reference) -> Result<Known, AuthError> {
    let path = folder.join("config.json");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Known::default()),
        Err(source) => return Err(AuthError::Io { path, source }),
    };
    let syntax = |reason: String| AuthError::Syntax { path: path.clone(), reason };
    // serde quotes wrong values in its messages, and here they are secrets: only the place is told.
    let file: File = serde_json::from_slice(&text)
        .map_err(|error| syntax(format!("line {}, column {}", error.line(), error.column())))?;
    let registry = reference.registry();
    let entry = file.auths.iter().find(|(key, _)| host(key) == registry).map(|(_, entry)| entry);
    let credentials = match entry {
        Some(entry) if !entry.identitytoken.is_empty() => {
            Some(Credentials::Identity(entry.identitytoken.clone()))
        }
        Some(entry) if !entry.auth.is_empty() => Some(decode(&entry.auth).ok_or_else(|| {
            syntax(format!("the 'auth' of {registry} is not the base64 of NAME:PASSWORD"))
        })?),
        _ => None,
    };
    let helper = file.cred_helpers.iter().find(|(key, _)| host(key) == registry);
    let helper = helper.map_or(file.creds_store.as_str(), |(_, helper)| helper);
    let helper = (credentials.is_none() && !helper.is_empty())
        .then(|| format!("docker-credential-{helper}"));
    Ok(Known { credentials, helper })
}

/// The registry of a key in the file, often a URL: `https://index.docker.io/v1/` for the Hub.
fn host(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    match rest.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

fn decode(auth: &str) -> Option<Credentials> {
    let text = String::from_utf8(STANDARD.decode(auth).ok()?).ok()?;
    // Docker pads some passwords with zeros.
    let (user, password) = text.trim_end_matches('\0').split_once(':')?;
    Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
}

/// The value of an `Authorization` header (RFC 7617).
pub(super) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(json: &str, reference: &str) -> Result<Known, AuthError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), json).unwrap();
        known(dir.path(), &reference.parse().unwrap())
    }

    #[test]
    fn each_registry_has_its_own_credentials() {
        let json = r#"{
            "auths": {
                "https://index.docker.io/v1/": {"auth": "bWU6c2VjcmV0"},
                "localhost:5000": {"auth": "eW91OmE6Yg==", "email": "x"},
                "https://token.example": {"identitytoken": "t", "auth": "PHRva2VuPjo="},
                "kept.example": {}, "own.example": {}
            },
            "credHelpers": {"own.example": "pass"}, "credsStore": "desktop", "HttpHeaders": {}
        }"#;
        let show = |reference| {
            let known = ask(json, reference).unwrap();
            let secret = match known.credentials {
                Some(Credentials::Basic { user, password }) => format!("{user} {password}"),
                Some(Credentials::Identity(token)) => format!("identity {token}"),
                None => "nobody".to_owned(),
            };
            format!("{secret}, {}", known.helper.as_deref().unwrap_or("no helper"))
        };
        for (reference, expected) in [
            ("alpine", "me secret, no helper"),
            ("localhost:5000/x", "you a:b, no helper"),
            ("localhost:5001/x", "nobody, docker-credential-desktop"),
            ("token.example/x", "identity t, no helper"),
            ("kept.example/x", "nobody, docker-credential-desktop"),
            ("own.example/x", "nobody, docker-credential-pass"),
        ] {
            assert_eq!(show(reference), expected, "{reference}");
        }
    }

    #[test]
    fn no_file_means_nobody_and_a_wrong_one_is_told_without_its_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let reference = "alpine".parse().unwrap();
        assert_eq!(known(dir.path(), &reference).unwrap(), Known::default());
        for json in [
            r#"{"auths": {"docker.io": {"auth": 1234567}}}"#,
            r#"{"auths": {"docker.io": {"auth": "secret"}}}"#,
            "secret",
        ] {
            let error = ask(json, "alpine").unwrap_err().to_string();
            let (_, reason) = error.split_once("config.json ").unwrap();
            assert!(reason.starts_with("is not a configuration of Docker's: "), "{error}");
            assert!(!reason.contains("secret") && !reason.contains("1234567"), "{error}");
        }
        let credentials =
            Credentials::Basic { user: "me".to_owned(), password: "secret".to_owned() };
        assert_eq!(format!("{credentials:?}"), "Basic(me)");
    }
}
