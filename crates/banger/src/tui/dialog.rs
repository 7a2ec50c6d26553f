//! What is asked or told before anything else.

use std::collections::HashSet;
use std::time::Duration;

use banger_core::agent::Port;
use banger_core::api::{ApiError, Leftover};
use banger_core::id::VmId;
use banger_core::operation::Failure;
use banger_core::vm::SSH_PORT;
use banger_wire::Method;
use tui_input::Input;

use super::form::Form;
use super::keys::{BINDINGS, Binding, Scope};
use super::plain;
use super::update::Effect;

/// A request to the daemon.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What it does, for a person: `start dev`.
    pub what: String,
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// Its body.
    pub body: Option<serde_json::Value>,
    /// The form that it was made of, which comes back if it is refused.
    pub form: Option<Box<Form>>,
    /// How long it may take, if longer than most.
    pub limit: Option<Duration>,
}

impl Request {
    /// One without a body.
    pub fn new(what: impl Into<String>, method: Method, path: impl Into<String>) -> Self {
        Self { what: what.into(), method, path: path.into(), body: None, form: None, limit: None }
    }

    /// The same; it may take so long.
    pub fn within(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// The same with a body.
    pub fn body(self, body: &impl serde::Serialize) -> Self {
        // What we ask for is made of strings and numbers, which JSON can say.
        Self { body: serde_json::to_value(body).ok(), ..self }
    }
}

/// Something that failed. It stays until it is dismissed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What was tried.
    pub title: String,
    /// Why it failed.
    pub message: String,
    /// The end of the guest's console, where it tells something.
    pub console: String,
    /// What to do.
    pub remedy: Option<String>,
    /// What of it is copied, if that is not the remedy.
    pub copied: Option<String>,
}

impl Problem {
    /// One that a person reads, in plain text whatever a guest said.
    pub fn new(
        title: impl Into<String>,
        message: impl Into<String>,
        remedy: Option<String>,
    ) -> Self {
        let (title, message) = (plain::text(&title.into()), plain::text(&message.into()));
        let remedy = remedy.map(|remedy| plain::text(&remedy));
        Self { title, message, console: String::new(), remedy, copied: None }
    }

    /// The same; this is what one wants to copy.
    #[must_use]
    pub fn copied(self, text: impl Into<String>) -> Self {
        Self { copied: Some(text.into()), ..self }
    }

    /// A refusal of the daemon's.
    #[must_use]
    pub fn of_refusal(title: &str, error: ApiError) -> Self {
        Self::new(title, error.message, error.remedy)
    }

    /// What could not be released of what was left behind, if there is any.
    #[must_use]
    pub fn of_leftovers(title: &str, released: &[Leftover]) -> Option<Self> {
        let line = |left: &Leftover| Some(format!("the {}: {}", left.what, left.error.as_ref()?));
        let lines: Vec<_> = released.iter().filter_map(line).collect();
        (!lines.is_empty()).then(|| Self::new(title, lines.join("\n"), None))
    }

    /// The failure of an operation.
    #[must_use]
    pub fn of_failure(title: &str, failure: &Failure) -> Self {
        let left = failure.rollback.iter().map(|left| format!("\nnot undone: {left}"));
        let message = std::iter::once(failure.message.clone()).chain(left).collect::<String>();
        let problem = Self::new(title, message, failure.remedy.clone());
        Self { console: plain::text(&failure.console), ..problem }
    }
}

/// A question before something is done.
#[derive(Debug, Clone)]
pub struct Confirm {
    /// What is to be done.
    pub title: String,
    /// What that means.
    pub text: String,
    /// What has to be typed, and what has been; yes or no is enough otherwise.
    pub typed: Option<(String, Input)>,
    /// What is done then.
    pub then: Vec<Effect>,
    /// The VMs that are not marked any more then.
    pub unmark: Vec<VmId>,
}

impl Confirm {
    /// Whether what had to be typed was.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.typed.as_ref().is_none_or(|(word, typed)| typed.value().trim() == word)
    }
}

/// All that can be done, by name.
#[derive(Debug, Clone, Default)]
pub struct Palette {
    /// What was typed.
    pub typed: Input,
    /// The line.
    pub at: usize,
}

impl Palette {
    /// What fits, titles first: what can be done here, everywhere, and on other tabs.
    #[must_use]
    pub fn found(&self, scopes: &[Scope]) -> Vec<&'static Binding> {
        let typed = self.typed.value().to_lowercase();
        let fits =
            |text: &str| typed.split_whitespace().all(|word| text.to_lowercase().contains(word));
        let near = |binding: &&Binding| match binding.scope {
            scope if scopes.first() == Some(&scope) => 0,
            scope if scopes.contains(&scope) => 1,
            _ => 2,
        };
        let can = |binding: &&Binding| {
            // In a log, there is no list.
            let list = binding.scope == Scope::List && scopes.contains(&Scope::Log);
            let here = scopes.contains(&binding.scope) && !list;
            binding.has_name() && (here || binding.scope.tab().is_some())
        };
        let mut all: Vec<_> = BINDINGS.iter().filter(can).collect();
        // What is here does not stand there a second time.
        all.sort_by_key(near);
        let mut known = HashSet::new();
        all.retain(|binding| known.insert((binding.action, binding.title)));
        let (mut titles, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|binding| fits(binding.title));
        titles.extend(others.into_iter().filter(|binding| fits(binding.help)));
        titles
    }
}

/// The ports of a VM.
#[derive(Debug, Clone)]
pub struct PortList {
    /// The VM.
    pub vm: VmId,
    /// The port that was chosen; until then it is the first that is not SSH's.
    pub port: Option<u16>,
}

impl PortList {
    /// The line that the person is at.
    #[must_use]
    pub fn line(&self, known: &[Port]) -> usize {
        let chosen = |port: &Port| match self.port {
            Some(chosen) => port.port >= chosen,
            None => port.port != SSH_PORT,
        };
        known.iter().position(chosen).unwrap_or(known.len().saturating_sub(1))
    }
}

/// What is on top.
#[derive(Debug)]
pub enum Dialog {
    /// Something failed; from so many lines on.
    Problem(Problem, u16),
    /// The keys, from so many lines on.
    Help(u16),
    /// All that can be done.
    Palette(Palette),
    /// A question.
    Confirm(Confirm),
    /// Something to fill in.
    Form(Form),
    /// A VM's ports.
    Ports(PortList),
}

impl Dialog {
    /// Whether its keys are the person's: what fails meanwhile waits beneath it.
    #[must_use]
    pub fn is_filled_in(&self) -> bool {
        matches!(self, Self::Form(_) | Self::Confirm(_) | Self::Palette(_))
    }
}
