//! Errors at the edge: what is printed, and the exit code.

use std::process::ExitCode;

use banger_core::api::{ApiError, ErrorKind};
use banger_wire::WireError;

use crate::output;

/// A command that failed.
#[derive(Debug)]
pub struct CommandError {
    message: String,
    remedy: Option<String>,
    code: u8,
}

impl CommandError {
    /// A failure of the general kind.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: None, code: 1 }
    }

    /// The same with another exit code.
    pub fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The same with what to do.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// What failed.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do.
    pub fn hint(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    /// Prints it.
    pub fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            output::error(&self.message, self.remedy.as_deref());
        }
        ExitCode::from(self.code)
    }
}

/// An error with its causes, outermost first.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

impl From<WireError> for CommandError {
    fn from(error: WireError) -> Self {
        if let WireError::Refused { body, .. } = &error
            && let Ok(refusal) = serde_json::from_str::<ApiError>(body)
        {
            let code = match refusal.kind {
                ErrorKind::Invalid => 2,
                ErrorKind::NotFound => 3,
                ErrorKind::Conflict => 4,
                ErrorKind::Forbidden | ErrorKind::Internal => 1,
            };
            return Self { message: refusal.message, remedy: refusal.remedy, code };
        }
        let unreachable = matches!(error, WireError::Connect { .. });
        Self::new(chain(&error)).code(if unreachable { 5 } else { 1 })
    }
}

impl From<banger_exec::ExecError> for CommandError {
    fn from(error: banger_exec::ExecError) -> Self {
        Self::new(chain(&error))
    }
}

impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}
