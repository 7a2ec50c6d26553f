//! Asking a registry (OCI distribution-spec, "Pull"; distribution, "Token Authentication").

use std::io::Read as _;
use std::sync::{Mutex, PoisonError};

use banger_exec::Cancel;
use serde::Deserialize;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body, ResponseExt as _};

use super::auth::{Credentials, Known, basic};
use super::challenge::{self, Challenge};
use super::document::LIMIT;
use super::pull::PullError;
use super::reference::{Reference, is_loopback};
use crate::fetch::{TICK, TRIES, config};

/// A repository in a registry.
pub(super) struct Registry<'a> {
    reference: &'a Reference,
    known: &'a Known,
    agent: Agent,
    /// What our last request was allowed with. All threads share it.
    authorization: Mutex<Option<String>>,
}

impl<'a> Registry<'a> {
    pub(super) fn new(reference: &'a Reference, known: &'a Known) -> Self {
        // A redirect takes neither to plain HTTP nor, by ureq's default, our credentials along.
        let agent = config().https_only(!reference.is_local()).build().into();
        Self { reference, known, agent, authorization: Mutex::default() }
    }

    /// The address of a manifest or blob.
    pub(super) fn url(&self, kind: &str, which: &str) -> String {
        let scheme = if self.reference.is_local() { "http" } else { "https" };
        let (host, name) = (self.reference.host(), self.reference.repository());
        format!("{scheme}://{host}/v2/{name}/{kind}/{which}")
    }

    /// A document, whatever it is; tried again while the connection or the server fails.
    pub(super) fn document(
        &self,
        what: &'static str,
        url: &str,
        accept: &str,
        cancel: &Cancel,
    ) -> Result<Vec<u8>, PullError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let result = self.attempt(what, url, accept);
            let passing = match &result {
                Err(PullError::Transport { .. }) => true,
                Err(PullError::Status { status, .. }) => matches!(status, 408 | 429 | 500..),
                _ => false,
            };
            if cancel.is_cancelled() {
                return Err(PullError::Cancelled);
            }
            if !passing || attempt == TRIES {
                return result;
            }
            std::thread::sleep(TICK * 2_u32.pow(attempt));
        }
    }

    fn attempt(&self, what: &'static str, url: &str, accept: &str) -> Result<Vec<u8>, PullError> {
        let mut response = self.get(url, &[("Accept", accept)])?;
        let status = response.status().as_u16();
        let body = read(&mut response).map_err(transport(url))?;
        match status {
            200 if body.len() as u64 > LIMIT => Err(super::DocumentError::TooLong { what }.into()),
            200 => Ok(body),
            401 | 403 => Err(self.denied(&body)),
            404 => Err(PullError::NotFound(self.reference.to_string())),
            _ => Err(PullError::Status { url: url.to_owned(), status, reason: reason(&body) }),
        }
    }

    fn denied(&self, body: &[u8]) -> PullError {
        let registry = self.reference.registry();
        let remedy = match self.known {
            Known { helper: Some(helper), .. } => format!(
                "your credentials may be in '{helper}', which banger does not run: write an 'auth' for {registry} into Docker's config.json"
            ),
            Known { credentials: None, .. } => {
                format!("log in with 'docker login {registry}', if the name is right")
            }
            _ => format!("check the name, and log in again with 'docker login {registry}'"),
        };
        PullError::Denied { image: self.reference.to_string(), reason: reason(body), remedy }
    }

    /// Asks once, with what the registry wants to know about us.
    pub(super) fn get(
        &self,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response<Body>, PullError> {
        let used = self.lock().clone();
        let response = self.send(url, headers, used.as_deref())?;
        // Who sent us here is trusted; who we were sent to gets no credentials (CVE-2020-15157).
        let here = response.get_uri().authority().is_some_and(|to| to == self.reference.host());
        if response.status() != 401 || !here {
            return Ok(response);
        }
        let challenges = response.headers().get_all("www-authenticate");
        let challenges = challenges.iter().filter_map(|header| header.to_str().ok());
        let challenges: Vec<_> = challenges.flat_map(challenge::parse).collect();
        let mut authorization = self.lock();
        if *authorization == used {
            let Some(new) = self.answer(&challenges)?.filter(|new| Some(new) != used.as_ref())
            else {
                return Ok(response);
            };
            *authorization = Some(new);
        }
        // Else another thread has asked for a token meanwhile.
        let new = authorization.clone();
        drop(authorization);
        self.send(url, headers, new.as_deref())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        authorization: Option<&str>,
    ) -> Result<Response<Body>, PullError> {
        let mut request = self.agent.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        request.call().map_err(transport(url))
    }

    /// The `Authorization` that answers a challenge; none if we have nothing to say to it.
    fn answer(&self, challenges: &[Challenge]) -> Result<Option<String>, PullError> {
        let find = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        if let Some(challenge) = find("bearer")
            && let Some(realm) = challenge.param("realm")
        {
            return self.token(realm, challenge.param("service")).map(Some);
        }
        match &self.known.credentials {
            Some(Credentials::Basic { user, password }) if find("basic").is_some() => {
                Ok(Some(basic(user, password)))
            }
            _ => Ok(None),
        }
    }

    /// Asks the token server that the registry named, for no more than to pull this repository.
    fn token(&self, realm: &str, service: Option<&str>) -> Result<String, PullError> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let uri: Option<Uri> = realm.parse().ok();
        let safe = uri.is_some_and(|uri| match uri.scheme_str() {
            Some("https") => true,
            Some("http") => {
                self.reference.is_local()
                    && uri.authority().is_some_and(|to| is_loopback(to.as_str()))
            }
            _ => false,
        });
        if !safe {
            return Err(PullError::Realm {
                registry: self.reference.registry().to_owned(),
                realm: realm.to_owned(),
            });
        }
        let scope = format!("repository:{}:pull", self.reference.repository());
        let mut query = vec![("scope", scope.as_str())];
        query.extend(service.map(|service| ("service", service)));
        let response = match &self.known.credentials {
            Some(Credentials::Identity(token)) => {
                query.extend([
                    ("grant_type", "refresh_token"),
                    ("refresh_token", token),
                    ("client_id", "banger"),
                ]);
                self.agent.post(realm).send_form(query)
            }
            credentials => {
                let request = self.agent.get(realm).query_pairs(query);
                match credentials {
                    Some(Credentials::Basic { user, password }) => {
                        request.header("Authorization", basic(user, password)).call()
                    }
                    _ => request.call(),
                }
            }
        };
        let mut response = response.map_err(transport(realm))?;
        let status = response.status().as_u16();
        let body = read(&mut response).map_err(transport(realm))?;
        if matches!(status, 400 | 401 | 403) {
            return Err(self.denied(&body));
        }
        let answer = serde_json::from_slice(&body).ok().filter(|_| status == 200);
        let answer = answer.and_then(|Answer { token, access_token }| token.or(access_token));
        let answer = answer.filter(|token| !token.is_empty());
        answer.map(|token| format!("Bearer {token}")).ok_or_else(|| PullError::Status {
            url: realm.to_owned(),
            status,
            reason: reason(&body),
        })
    }
}

fn transport<E: std::fmt::Display>(url: &str) -> impl Fn(E) -> PullError {
    move |error| PullError::Transport { url: url.to_owned(), reason: error.to_string() }
}

/// A body, and a byte more if it is longer than any document.
fn read(response: &mut Response<Body>) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    response.body_mut().as_reader().take(LIMIT + 1).read_to_end(&mut body)?;
    Ok(body)
}

/// What a server says about its refusal (distribution-spec, "Error Codes"), as `: …`.
fn reason(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        message: String,
    }
    let errors = serde_json::from_slice::<Errors>(body).map(|body| body.errors).unwrap_or_default();
    let message = errors.into_iter().map(|error| error.message).find(|message| !message.is_empty());
    let plain = |message: String| message.chars().filter(|c| !c.is_control()).take(200).collect();
    message.map(plain).map(|message: String| format!(": {message}")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
