//! What a person filled into a form.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{HeaderValue, header, request::Parts};
use banger_core::api::{ApiError, ErrorKind};

use crate::serve::web::layout::Problem;
use crate::serve::web::session::Session;

/// How long a form may take to arrive.
const FORM_LIMIT: Duration = Duration::from_secs(10);
const FORM: &str = "application/x-www-form-urlencoded";

/// The fields of a form, by their names. One that came by POST had the token of its form.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// Those of a query or form.
    pub fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// Those that are given.
    pub fn of<const N: usize>(fields: [(&str, String); N]) -> Self {
        Self(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The same with another value of one.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// What is in a field; nothing if that is blank.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The same, to show it again.
    pub fn shown(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }

    /// What must be in a field, which a person knows as `label`.
    pub fn needed(&self, name: &str, label: &str) -> Result<String, ApiError> {
        let missing = || ApiError::new(ErrorKind::Invalid, format!("{label} is missing"));
        self.text(name).map(str::to_owned).ok_or_else(missing)
    }

    /// A value of some type; nothing if the field is blank.
    pub fn value<T: FromStr<Err: std::fmt::Display>>(
        &self,
        name: &str,
        label: &str,
    ) -> Result<Option<T>, ApiError> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|error| ApiError::new(ErrorKind::Invalid, format!("{label}: {error}")))
        };
        self.text(name).map(parse).transpose()
    }

    /// A value of a type that JSON has names for; nothing if the field is blank.
    pub fn choice<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        label: &str,
    ) -> Result<Option<T>, ApiError> {
        let parse = |text: &str| {
            serde_json::from_value(text.into()).map_err(|_| {
                let message = format!("{label}: there is no '{text}'");
                ApiError::new(ErrorKind::Invalid, message)
            })
        };
        self.text(name).map(parse).transpose()
    }

    /// Whether a box is ticked.
    pub fn ticked(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The words of a field.
    pub fn words(&self, name: &str) -> Vec<String> {
        self.shown(name).split_whitespace().map(str::to_owned).collect()
    }

    /// The lines of a field.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let lines = self.shown(name).lines().map(str::trim);
        lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// All but the token.
    pub fn kept(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        all.filter(|(name, _)| *name != "csrf")
    }
}

fn refused(kind: ErrorKind, message: &str) -> Problem {
    Problem(ApiError::new(kind, message))
}

impl<S: Send + Sync> FromRequestParts<S> for Session {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let none = || refused(ErrorKind::Forbidden, "log in first, with 'banger web'");
        parts.extensions.get().cloned().ok_or_else(none)
    }
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let session = Session::from_request_parts(&mut parts, state).await?;
        let kind = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        if !kind.is_some_and(|kind| kind.starts_with(FORM.as_bytes())) {
            return Err(refused(ErrorKind::Invalid, "this is not a form"));
        }
        let path = parts.uri.path().to_owned();
        let arriving = Bytes::from_request(Request::from_parts(parts, body), state);
        let arrived = tokio::time::timeout(FORM_LIMIT, arriving).await;
        let body = arrived.map_err(|_| refused(ErrorKind::Invalid, "the form did not arrive"))?;
        let body = body.map_err(|error| refused(ErrorKind::Invalid, &error.body_text()))?;
        let fields = Self::parse(&body);
        if session.issued(&path, fields.shown("csrf")) {
            return Ok(fields);
        }
        let error = ApiError::new(ErrorKind::Forbidden, "this form is not of this session");
        Err(Problem(error.remedy("go back, load the page again, and send the form anew")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::size::Size;

    #[test]
    fn fields_are_read_as_they_were_meant() {
        let fields = Fields::parse(b"size=4G&bad=x&blank=+&on=on&list=a%0D%0A%0D%0Ab+c&csrf=1");
        assert_eq!(fields.value("size", "Size").unwrap(), Some(Size::gib(4)));
        assert_eq!(fields.value::<Size>("blank", "Size").unwrap(), None);
        let bad = fields.value::<u32>("bad", "CPUs").unwrap_err().message;
        assert_eq!(bad, "CPUs: invalid digit found in string");
        assert_eq!(fields.lines("list"), ["a", "b c"]);
        assert_eq!(fields.words("list"), ["a", "b", "c"]);
        assert!(fields.ticked("on") && !fields.ticked("off"));
        assert_eq!(fields.needed("blank", "A name").unwrap_err().message, "A name is missing");
        assert!(fields.kept().all(|(name, _)| name != "csrf"));
    }
}
