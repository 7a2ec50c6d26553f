//! Following an operation to its end.

use std::process::ExitCode;
use std::time::Duration;

use banger_core::fold::OperationView;
use banger_core::operation::{Event, Object, Operation, OperationKind, Outcome};
use banger_wire::{Client, Method, WireError};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::CommandError;
use crate::output;
use crate::render::Renderer;

/// How long to look for a daemon that went away while we followed.
const RECONNECT_TRIES: u32 = 300;
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// How an operation ended well.
pub type Done = Option<Object>;

/// Shows an operation until it ends. Ctrl-C cancels it and still waits for
/// its end, so that nothing is left when the command returns.
pub async fn follow(
    client: &Client,
    operation: &Operation,
    interrupts: &mut Signal,
    json: bool,
) -> Result<Done, CommandError> {
    let mut renderer = Renderer::new(json);
    let mut view = OperationView::default();
    let shown = show(client, operation, interrupts, &mut renderer, &mut view).await;
    renderer.end();
    shown?;
    outcome(view.outcome, operation.kind, json)
}

async fn show(
    client: &Client,
    operation: &Operation,
    interrupts: &mut Signal,
    renderer: &mut Renderer,
    view: &mut OperationView,
) -> Result<(), CommandError> {
    let path = format!("/v1/operations/{}/events", operation.id);
    let mut interrupted = false;
    let mut tries = 0;
    loop {
        let mut events = match client.events(&path).await {
            Ok(events) => events,
            // The daemon is being restarted: the operation's end is in its database.
            Err(WireError::Connect { .. }) if tries < RECONNECT_TRIES => {
                tries += 1;
                tokio::time::sleep(RECONNECT_PAUSE).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        loop {
            tokio::select! {
                next = events.next::<Event>() => match next {
                    Ok(Some(event)) => {
                        // A stream begins with the first event: some may have been seen.
                        let seen = event.seq <= view.last_seq;
                        view.apply(&event);
                        if !seen {
                            renderer.show(&event, view);
                        }
                        if view.outcome.is_some() {
                            return Ok(());
                        }
                    }
                    Err(error @ (WireError::Json { .. } | WireError::TooLarge(_))) => {
                        return Err(error.into());
                    }
                    Ok(None) | Err(_) => break,
                },
                _ = interrupts.recv() => {
                    if interrupted {
                        let message = "left while it is being undone; the daemon goes on";
                        return Err(CommandError::new(message).code(130));
                    }
                    interrupted = true;
                    output::note("cancelling (Ctrl-C again leaves it to the daemon)");
                    let cancel = format!("/v1/operations/{}", operation.id);
                    client.send::<()>(Method::DELETE, &cancel, None).await?;
                }
            }
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

/// Ctrl-C, from now on; before, it ends the command.
pub fn interrupts() -> Result<Signal, CommandError> {
    Ok(signal(SignalKind::interrupt())?)
}

fn outcome(
    outcome: Option<Outcome>,
    kind: OperationKind,
    json: bool,
) -> Result<Done, CommandError> {
    match outcome {
        Some(Outcome::Succeeded { object }) => Ok(object.map(|object| *object)),
        Some(Outcome::Cancelled) => {
            let message = match kind {
                _ if json => "",
                OperationKind::VmCreate
                | OperationKind::ImageBuild
                | OperationKind::ImageRegister
                | OperationKind::ImagePull
                | OperationKind::ImageImport => "cancelled; nothing is left of it",
                _ => "cancelled",
            };
            Err(CommandError::new(message).code(130))
        }
        Some(Outcome::Failed { failure }) => {
            let mut message = failure.message;
            if !failure.console.is_empty() {
                message.push_str(&format!(
                    "\n--- the end of its console ---\n{}\n---",
                    failure.console
                ));
            }
            for left in failure.rollback {
                message.push_str(&format!("\nnot undone: {left}"));
            }
            let error = CommandError::new(message);
            Err(match failure.remedy {
                Some(remedy) => error.remedy(remedy),
                None => error,
            })
        }
        None => Err(CommandError::new("the operation's end was not seen").code(5)),
    }
}

/// Begins an operation and, unless told not to, follows it.
pub async fn run<B: serde::Serialize>(
    client: &Client,
    (method, path): (Method, &str),
    body: Option<&B>,
    wait: bool,
    json: bool,
) -> Result<Done, CommandError> {
    // Before the operation is begun: a Ctrl-C must not end us and leave it going on.
    let mut interrupts = interrupts()?;
    let operation: Operation = client.send(method, path, body).await?.json()?;
    if wait {
        return follow(client, &operation, &mut interrupts, json).await;
    }
    if json {
        output::json(&operation);
    } else {
        output::line(&format!("begun: operation {}", operation.id));
    }
    Ok(None)
}

/// Success.
pub const OK: ExitCode = ExitCode::SUCCESS;
