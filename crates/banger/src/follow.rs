//! Following an operation to its end.

use std::process::ExitCode;
use std::time::Duration;

use banger_core::fold::OperationView;
use banger_core::operation::{Event, Object, Operation, Outcome};
use banger_wire::{Client, Method, WireError};

use crate::error::CommandError;
use crate::output;
use crate::render::Renderer;

/// How long to look for a daemon that went away while we followed.
const RECONNECT_TRIES: u32 = 50;

/// How an operation ended well.
pub type Done = Option<Object>;

/// Shows an operation until it ends. Ctrl-C cancels it and still waits for
/// its end, so that nothing is left when the command returns.
pub async fn follow(
    client: &Client,
    operation: &Operation,
    json: bool,
) -> Result<Done, CommandError> {
    let mut renderer = Renderer::new(json);
    let mut view = OperationView::default();
    let mut interrupted = false;
    let path = format!("/v1/operations/{}/events", operation.id);
    let mut tries = 0;
    while view.outcome.is_none() {
        let mut events = match client.events(&path).await {
            Ok(events) => events,
            Err(WireError::Connect { .. }) if tries < RECONNECT_TRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        // A stream begins with the first event; the fold passes over what it has seen.
        while view.outcome.is_none() {
            tokio::select! {
                next = events.next::<Event>() => match next {
                    Ok(Some(event)) => {
                        let seen = event.seq <= view.last_seq;
                        view.apply(&event);
                        if !seen {
                            renderer.show(&event, &view);
                        }
                    }
                    Ok(None) | Err(_) => break,
                },
                _ = tokio::signal::ctrl_c() => {
                    if interrupted {
                        renderer.end();
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
    }
    renderer.end();
    outcome(view.outcome, json)
}

fn outcome(outcome: Option<Outcome>, json: bool) -> Result<Done, CommandError> {
    match outcome {
        Some(Outcome::Succeeded { object }) => Ok(object.map(|object| *object)),
        Some(Outcome::Cancelled) => {
            let message = if json { "" } else { "cancelled; nothing is left of it" };
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
    let operation: Operation = client.send(method, path, body).await?.json()?;
    if wait {
        return follow(client, &operation, json).await;
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
