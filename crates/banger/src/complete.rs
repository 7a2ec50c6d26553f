//! What the shell offers when a person presses Tab.
//!
//! The shell runs `banger` with [`VARIABLE`] set and the words so far. Names
//! of VMs and images are asked of the daemon; it is never started for that.

use std::ffi::OsString;
use std::time::Duration;

use banger_core::image::Image;
use banger_core::vm::Vm;
use clap::CommandFactory as _;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{Bash, CompleteEnv, Elvish, EnvCompleter, Fish, Zsh};
use serde::de::DeserializeOwned;

use crate::cli::{Cli, Shell};
use crate::daemon;
use crate::error::CommandError;

/// Names the shell that wants to be told what can follow.
const VARIABLE: &str = "BANGER_COMPLETE";
/// How long a person's Tab may take. A daemon that is slower offers nothing.
const LIMIT: Duration = Duration::from_millis(300);

/// Answers the shell if it is the shell that asks.
pub fn answer() -> Result<bool, CommandError> {
    CompleteEnv::with_factory(Cli::command)
        .var(VARIABLE)
        .try_complete(std::env::args_os(), std::env::current_dir().ok().as_deref())
        .map_err(|error| CommandError::new(error.to_string()))
}

/// For an argument that names a VM.
pub fn a_vm() -> ArgValueCandidates {
    let candidate = |vm: Vm| named(vm.name.as_str(), vm.state.name());
    ArgValueCandidates::new(move || list("/v1/vms").into_iter().map(candidate).collect())
}

/// For an argument that names an image.
pub fn an_image() -> ArgValueCandidates {
    let candidate = |image: Image| named(image.name.as_str(), &image.boot_set.kernel_release);
    ArgValueCandidates::new(move || list("/v1/images").into_iter().map(candidate).collect())
}

fn named(name: &str, about: &str) -> CompletionCandidate {
    CompletionCandidate::new(name).help(Some(about.to_owned().into()))
}

/// What the daemon lists; nothing on any failure: there is nobody to tell.
fn list<T: DeserializeOwned>(path: &str) -> Vec<T> {
    let Ok(dirs) = daemon::dirs() else { return Vec::new() };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let client = daemon::client(&dirs);
    let asked = runtime
        .block_on(async move { tokio::time::timeout(LIMIT, client.get::<Vec<T>>(path)).await });
    asked.ok().and_then(Result::ok).unwrap_or_default()
}

/// The script that tells a shell to ask us, by the name that it was asked by.
pub fn script(shell: Shell, called: OsString) -> Result<String, CommandError> {
    let (shell, install): (&dyn EnvCompleter, _) = match shell {
        Shell::Bash => (&Bash, "put into ~/.bashrc:\n#   source <(banger completions bash)"),
        Shell::Elvish => (
            &Elvish,
            "put into ~/.config/elvish/rc.elv:\n#   eval (banger completions elvish | slurp)",
        ),
        Shell::Fish => (
            &Fish,
            "put into ~/.config/fish/completions/banger.fish:\n#   banger completions fish | source",
        ),
        Shell::Zsh => {
            (&Zsh, "put into ~/.zshrc, after compinit:\n#   source <(banger completions zsh)")
        }
    };
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "banger", "banger", &program(called), &mut script)?;
    let note = format!(
        "# Completions of banger for {}. To have them in every shell,\n# {install}\n# A file of this would be out of date with the next version of banger.\n",
        shell.name()
    );
    let script = String::from_utf8_lossy(&script);
    // zsh wants to see this first.
    Ok(match script.split_once('\n') {
        Some((first, rest)) if first.starts_with("#compdef") => format!("{first}\n{note}{rest}"),
        _ => format!("{note}{script}"),
    })
}

/// The program as the shell can call it from anywhere: by its name if it was
/// found on PATH.
fn program(called: OsString) -> String {
    let called = std::path::PathBuf::from(called);
    let path = if called.components().count() > 1 {
        std::env::current_exe().unwrap_or(called)
    } else {
        called
    };
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vm_and_image_in_the_grammar_has_live_names() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            for argument in command.get_arguments() {
                let id = argument.get_id().as_str();
                let live = argument.get::<ArgValueCandidates>().is_some();
                let named = ["vm", "vms", "image", "from", "from_vm", "boot_set"];
                assert_eq!(live, named.contains(&id), "{path}: {id}");
            }
            command.get_subcommands().for_each(|sub| check(sub, &path));
        }
        check(&Cli::command(), "");
    }

    #[test]
    fn a_script_says_how_to_install_itself() {
        let script = |shell| script(shell, "banger".into()).unwrap();
        let head = |text: String, n| text.lines().take(n).collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!(head(script(Shell::Zsh), 4), @"
        #compdef banger
        # Completions of banger for zsh. To have them in every shell,
        # put into ~/.zshrc, after compinit:
        #   source <(banger completions zsh)
        ");
        insta::assert_snapshot!(script(Shell::Fish), @r#"
        # Completions of banger for fish. To have them in every shell,
        # put into ~/.config/fish/completions/banger.fish:
        #   banger completions fish | source
        # A file of this would be out of date with the next version of banger.
        complete --keep-order --exclusive --command banger --arguments "(BANGER_COMPLETE=fish banger -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
        "#);
        let bash = script(Shell::Bash);
        assert!(
            bash.contains("BANGER_COMPLETE=\"bash\"") && bash.contains("\"banger\" -- "),
            "{bash}"
        );
        assert!(script(Shell::Elvish).contains("BANGER_COMPLETE=\"elvish\""));
    }
}
