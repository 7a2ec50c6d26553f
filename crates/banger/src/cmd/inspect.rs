//! `banger vm ports` and `vm logs`: what a VM has to show.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use banger_core::agent::Port;
use banger_core::console::Filter;

use crate::cli::{Logs, Ports};
use crate::error::CommandError;
use crate::follow::OK;
use crate::signals::End;
use crate::{daemon, output};

pub async fn ports(args: Ports) -> Result<ExitCode, CommandError> {
    let client = daemon::connect().await?;
    let list: Vec<Port> = client.get(&format!("/v1/vms/{}/ports", args.vm)).await?;
    if args.format.json {
        output::json(&list);
    } else if list.is_empty() {
        output::note("nothing listens");
    } else {
        output::line(&table(&list));
    }
    Ok(OK)
}

fn table(list: &[Port]) -> String {
    let row = |port: &Port| {
        let process = port.process.clone().unwrap_or_else(|| "-".to_owned());
        // The guest gives its programs any name it likes.
        let process = process.chars().filter(|c| !c.is_control()).collect();
        vec![port.port.to_string(), port.address.clone(), process]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    output::table(&["PORT", "ADDRESS", "PROCESS"], &rows)
}

pub async fn logs(args: Logs) -> Result<ExitCode, CommandError> {
    let mut end = End::catch()?;
    let client = daemon::connect().await?;
    let path = format!("/v1/vms/{}/log?lines={}&follow={}", args.vm, args.lines, args.follow);
    let mut log = client.bytes(&path).await?;
    // A terminal obeys what it is shown; a file or a pipe gets what there is.
    let mut filter = std::io::stdout().is_terminal().then(Filter::default);
    loop {
        let bytes = tokio::select! {
            next = log.next() => match next? {
                Some(bytes) => bytes,
                None => break,
            },
            () = end.told() => break,
        };
        let shown = match &mut filter {
            Some(filter) => output::bytes(filter.push(&bytes).as_bytes()),
            None => output::bytes(&bytes),
        };
        if shown.is_err() {
            // The reader has seen enough.
            break;
        }
    }
    if let Some(filter) = filter {
        // It may be gone.
        let _ = output::bytes(filter.end().as_bytes());
    }
    Ok(OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_a_table() {
        let port = |port, address: &str, process: Option<&str>| Port {
            port,
            address: address.to_owned(),
            process: process.map(str::to_owned),
        };
        let list = [
            port(22, "0.0.0.0", Some("sshd")),
            port(4096, "::", Some("a\x1b[2J")),
            port(9, "::1", None),
        ];
        insta::assert_snapshot!(table(&list), @r"
        PORT  ADDRESS  PROCESS
        22    0.0.0.0  sshd
        4096  ::       a[2J
        9     ::1      -
        ");
    }
}
