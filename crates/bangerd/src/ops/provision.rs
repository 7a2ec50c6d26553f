//! Putting things into the root of an image to be, over SSH.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use banger_core::api::{ApiError, BuildFrom, CopyIn, ErrorKind, SshAccess};
use banger_core::console::Filter;
use banger_core::operation::EventKind;
use banger_core::ssh::{arguments, proxy_line, quote};
use banger_exec::{Command, ExecError, Tool};
use tokio::runtime::Handle;

use crate::engine::oplog::OpLog;
use crate::engine::resources::blocking;
use crate::engine::vm::VmCtx;
use crate::error::OpError;

/// How long one step may take: packages come over somebody's network.
const LIMIT: Duration = Duration::from_secs(4 * 3600);

/// How many lines of what was said are told with an error.
const TAIL: usize = 15;
/// How long such a line may be.
const LINE: usize = 1000;

/// Installs the packages named as arguments, by what the guest has.
const INSTALL: &str = r#"
set -e
if command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    # A configuration file that was copied before is the person's choice.
    exec apt-get -q -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef \
        -o Dpkg::Options::=--force-confold --no-install-recommends install "$@" </dev/null
elif command -v apk >/dev/null; then
    exec apk add --no-progress "$@"
elif command -v xbps-install >/dev/null; then
    exec xbps-install -Sy "$@"
fi
echo 'the guest has neither apt-get nor apk nor xbps-install' >&2
exit 1
"#;

/// Removes what only the build needed, and gives its blocks back where the disk can take them.
const TIDY: &str = "
if command -v apt-get >/dev/null; then apt-get -q clean; rm -rf /var/lib/apt/lists/*; fi
if command -v apk >/dev/null; then rm -rf /var/cache/apk/*; fi
if command -v xbps-install >/dev/null; then rm -rf /var/cache/xbps/*; fi
if command -v fstrim >/dev/null; then fstrim / 2>/dev/null; fi
sync
";

/// Fails unless each is the name of a package, with a version perhaps.
pub(super) fn check_packages(packages: &[String]) -> Result<(), ApiError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-._:=~/".contains(c);
    let wrong = packages.iter().find(|name| {
        !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(plain)
    });
    match wrong {
        None => Ok(()),
        Some(name) => {
            Err(ApiError::new(ErrorKind::Invalid, format!("'{name}' is not the name of a package")))
        }
    }
}

/// What is put into the root of the VM `ctx`, which runs.
pub(super) struct Provisioning<'a> {
    pub(super) log: &'a OpLog,
    pub(super) ctx: &'a VmCtx,
    pub(super) request: &'a BuildFrom,
}

impl Provisioning<'_> {
    /// Copies first: packages may need a list of where they come from, scripts may need both.
    pub(super) async fn run(&self) -> Result<(), OpError> {
        let BuildFrom { copies, modules, packages, scripts, .. } = self.request;
        if !copies.is_empty() || modules.is_some() {
            self.log.stage("copy", self.copy_all()).await?;
        }
        if !packages.is_empty() {
            let words = packages.iter().map(|name| quote(name)).collect::<Vec<_>>().join(" ");
            let line = format!("sh -s -- {words}");
            let install = self.shell("the installation of packages", &line, INSTALL.as_bytes());
            self.log.stage("packages", install).await?;
        }
        for script in scripts {
            self.log.stage("script", self.script(Path::new(script))).await?;
        }
        self.log.stage("tidy", self.shell("tidying up", "sh -s", TIDY.as_bytes())).await
    }

    async fn copy_all(&self) -> Result<(), OpError> {
        for CopyIn { from, to } in &self.request.copies {
            self.copy(Path::new(from), Path::new(to)).await?;
        }
        let Some(modules) = self.request.modules.as_deref().map(Path::new) else { return Ok(()) };
        let release = modules.file_name().unwrap_or_default();
        let to = Path::new("/lib/modules").join(release);
        self.copy(modules, &to).await?;
        let depmod = format!("depmod {}", quote(&release.to_string_lossy()));
        self.shell("depmod", &depmod, b"").await
    }

    /// Copies a file or what is in a folder, as root's, by way of tar(1).
    async fn copy(&self, from: &Path, to: &Path) -> Result<(), OpError> {
        // Beside the root, which has to hold it too: the run folder is memory.
        let archive = self.ctx.dir().join("copy.tar");
        let is_folder = from.is_dir();
        let (inside, name): (&Path, PathBuf) = match from.parent().zip(from.file_name()) {
            Some((parent, name)) if !is_folder => (parent, Path::new("./").join(name)),
            _ => (from, PathBuf::from(".")),
        };
        let tar = Command::new(Tool::Tar)
            .args(["--create", "--owner=0", "--group=0", "--numeric-owner", "--directory"])
            .arg(inside)
            .arg("--file")
            .arg(&archive)
            .arg(&name)
            .cancel(self.log.cancel())
            .timeout(LIMIT);
        let runner = self.ctx.engine.runner.clone();
        blocking(move || Ok(runner.capture(&tar).map(drop)?)).await?;
        let place = quote(&to.to_string_lossy());
        // In the folder that it goes to, so that it is there at once.
        let unpack = if is_folder {
            // The modes of folders that are there are the guest's.
            format!(
                "mkdir -p {place} && o= && if tar --version 2>/dev/null | grep -q GNU; then \
                 o=--no-overwrite-dir; fi && tar $o -xpf - -C {place}"
            )
        } else {
            let name = quote(&name.to_string_lossy());
            format!(
                "d=$(dirname {place}) && mkdir -p \"$d\" && t=$(mktemp -d \"$d/.banger-XXXXXX\") && \
                 tar -xpf - -C \"$t\" && mv -f \"$t\"/{name} {place}; s=$?; rm -rf \"$t\"; exit $s"
            )
        };
        let what = format!("the copy of {}", from.display());
        let copied = self.ssh(&what, &unpack, Input::File(archive.clone())).await;
        std::fs::remove_file(&archive)
            .map_err(OpError::file(format!("remove {}", archive.display())))?;
        copied
    }

    /// Runs a script of the host's.
    async fn script(&self, path: &Path) -> Result<(), OpError> {
        let text =
            std::fs::read(path).map_err(OpError::file(format!("read {}", path.display())))?;
        let run = "t=$(mktemp) && cat > \"$t\" && chmod 700 \"$t\" && cd / && \"$t\" </dev/null; \
                   s=$?; rm -f \"$t\"; exit $s";
        self.shell(&format!("the script {}", path.display()), run, &text).await
    }

    async fn shell(&self, what: &str, line: &str, input: &[u8]) -> Result<(), OpError> {
        self.ssh(what, line, Input::Bytes(input.to_vec())).await
    }

    /// Runs a line of shell in the guest; what it says goes into the log.
    async fn ssh(&self, what: &str, line: &str, input: Input) -> Result<(), OpError> {
        let (engine, vm) = (&self.ctx.engine, self.ctx.vm());
        let access = SshAccess::of(
            &vm.id,
            super::keys::client_key(engine.runner.as_ref(), &engine.dirs, &engine.config)?.0,
            &self.ctx.dir(),
        );
        // All programs of banger's are in one folder.
        let banger = std::env::current_exe()
            .map_err(OpError::file("find the command 'banger'"))?
            .with_file_name("banger");
        let socket = self.ctx.sockets().vsock;
        let words = ["bench", "proxy", &socket.to_string_lossy()];
        let proxy = proxy_line(&banger.to_string_lossy(), &words);
        // All that is said, where lines are told as they come.
        let line = format!("exec 1>&2; {line}");
        // Nobody is there to be asked, and a guest that stands still is not waited for.
        let mut args: Vec<String> =
            ["-o", "BatchMode=yes", "-o", "ServerAliveInterval=20"].map(str::to_owned).to_vec();
        args.extend(arguments(vm.name.as_str(), &access, &proxy, &[line], false));
        let (log, runtime) = (self.log.clone(), Handle::current());
        let told = Arc::new(move |line: &str| {
            let kind = EventKind::Log { line: shown(line) };
            if let Err(error) = runtime.block_on(log.append(kind)) {
                tracing::error!(operation = %log.id(), %error, "an event could not be kept");
            }
        });
        let command = Command::new(Tool::Ssh)
            .args(args)
            .on_line(move |line| told(line))
            .cancel(self.log.cancel())
            .timeout(LIMIT);
        let command = match input {
            Input::Bytes(bytes) => command.stdin(bytes),
            Input::File(path) => command.stdin_file(path),
        };
        let runner = engine.runner.clone();
        let what = what.to_owned();
        blocking(move || match runner.capture(&command) {
            Ok(_) => Ok(()),
            // ssh's own (ssh(1)).
            Err(ExecError::Failed { status, stderr, .. }) if status == "exit status 255" => {
                Err(OpError::GuestLost { what, said: shown(tail(&stderr)) })
            }
            Err(ExecError::Failed { status, stderr, .. }) => {
                Err(OpError::guest(&what, status, &stderr))
            }
            Err(error) => Err(error.into()),
        })
        .await
    }
}

/// What a guest says, without what a terminal would take for more than text.
pub(super) fn shown(line: &str) -> String {
    let mut filter = Filter::default();
    let shown = filter.push(line.as_bytes());
    shown + filter.end()
}

impl OpError {
    /// Something failed in a guest, which said more than fits.
    pub(super) fn guest(what: &str, status: String, said: &str) -> Self {
        let line = |line: &str| shown(line).chars().take(LINE).collect::<String>();
        let said = tail(said).lines().map(line).collect::<Vec<_>>().join("\n");
        Self::Guest { what: what.to_owned(), status, said }
    }
}

/// The last lines of what was said: all of it is in the log.
fn tail(text: &str) -> &str {
    let text = text.trim_end();
    let from = text.rmatch_indices('\n').nth(TAIL - 1).map_or(0, |(at, _)| at + 1);
    &text[from..]
}

enum Input {
    Bytes(Vec<u8>),
    File(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_was_said_is_told() {
        let lines: Vec<_> = (0..40).map(|n| n.to_string()).collect();
        assert_eq!(tail(&lines.join("\n")), lines[25..].join("\n"));
        assert_eq!(tail("a\nb\n"), "a\nb");
        assert_eq!(tail(""), "");
        assert_eq!(shown("a\tb\x1b]0;title\x07c"), "a\tbc");
    }

    #[test]
    fn a_package_is_a_name_and_no_option_or_line() {
        let of = |name: &str| check_packages(&[name.to_owned()]).is_ok();
        assert!(of("g++") && of("nginx=1.22.1-9") && of("libc6:amd64"));
        assert!(!of("-y") && !of("a b") && !of("a;b") && !of("") && !of("a\nb") && !of("$(x)"));
    }
}
