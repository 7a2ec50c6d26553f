//! `banger web`: into the web console.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use banger_core::api::WebLogin;
use banger_exec::{Command, Interactive, Tool, Tools};
use banger_wire::{Client, Method};

use crate::cli::Web;
use crate::error::CommandError;
use crate::follow::OK;
use crate::{daemon, output};

pub async fn run(args: Web) -> Result<ExitCode, CommandError> {
    let client = daemon::connect().await?;
    let login: WebLogin = client.send::<()>(Method::POST, "/v1/web/login", None).await?.json()?;
    if args.format.json {
        output::json(&login);
        return Ok(OK);
    }
    output::line(&login.url);
    if args.no_open {
        return Ok(OK);
    }
    let page = page_to(&login.url)?;
    let open = Command::new(Tool::XdgOpen).arg(&page);
    let opened = match Interactive::start(&Tools::discover(), &open) {
        Ok(program) => program.wait()?.success(),
        Err(error) => {
            output::note(&error.to_string());
            false
        }
    };
    if !opened {
        output::note("no browser could be opened: open that URL yourself, within two minutes");
    }
    Ok(OK)
}

/// A login, and a page of this person's that leads there.
///
/// # Errors
/// The console is off, or the page cannot be written.
pub async fn page(client: &Client) -> Result<(WebLogin, PathBuf), CommandError> {
    let login: WebLogin = client.send::<()>(Method::POST, "/v1/web/login", None).await?.json()?;
    let page = page_to(&login.url)?;
    Ok((login, page))
}

fn page_to(url: &str) -> Result<PathBuf, CommandError> {
    let page = daemon::dirs()?.login_page();
    write_page(&page, url)?;
    Ok(page)
}

/// Writes a page that leads to the URL. On a command line, everybody on this machine could read it.
fn write_page(path: &Path, url: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let lead = format!("<meta http-equiv=\"refresh\" content=\"0; url={url}\">");
    writeln!(file, "<!DOCTYPE html>{lead}<a href=\"{url}\">Go on to banger</a>")
}
