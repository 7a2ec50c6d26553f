//! Installing the packages: mmdebstrap(1).

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use banger_exec::{Command, ExecError, Output, Tool};

use super::{Build, DebianRequest};
use crate::build::{BuildError, Reporter};
use crate::namespace::Namespace;

const TIMEOUT: Duration = Duration::from_secs(3600);

/// What every image has, beyond Debian's required packages.
const PACKAGES: &[&str] = &[
    "ca-certificates",
    "curl",
    "dbus",
    "git",
    "iproute2",
    "iputils-ping",
    "kmod",
    "less",
    "openssh-server",
    "procps",
    "sudo",
    "systemd",
    "systemd-sysv",
    "udev",
    "vim-tiny",
    "xz-utils",
];

/// Runs in a shell of the new root, once its packages are there. The kernel's
/// package is unpacked and not installed: it would bring the tools that make
/// an initramfs. The package database does not know it, so its line for the
/// package list is left in /boot, with the kernel, for us to read.
const KERNEL_SCRIPT: &str = r#"
cd /tmp
package=$(apt-cache depends --important linux-image-cloud-amd64 |
    awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }')
test -n "$package" || { echo "E: the suite has no linux-image-cloud-amd64" >&2; exit 1; }
apt-get -qq -o APT::Sandbox::User=root download "$package"
mkdir kernel
dpkg-deb -x "$package"_*.deb kernel
format='Package: ${Package}\nStatus: install ok installed\nVersion: ${Version}\nArchitecture: ${Architecture}\n'
dpkg-deb -W --showformat="$format" "$package"_*.deb >/boot/banger-kernel-status
mkdir -p /usr/lib/modules
for modules in kernel/lib/modules/* kernel/usr/lib/modules/*; do
    test ! -d "$modules" || mv "$modules" /usr/lib/modules/
done
mv kernel/boot/vmlinuz-* /boot/
for modules in /usr/lib/modules/*; do depmod "${modules##*/}"; done
rm -rf kernel "$package"_*.deb
"#;

/// Hands the script to the hook: on the command line, every error would quote it.
/// Debian's keys, where Debian and Ubuntu put them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const KERNEL_VARIABLE: &str = "BANGER_KERNEL_SCRIPT";

/// What mmdebstrap says, in the order that it says it.
const STEPS: &[&str] = &[
    "running apt-get update",
    "downloading packages",
    "extracting archives",
    "installing essential packages",
    "installing remaining packages",
    "running --customize-hook",
    "cleaning package lists",
    "creating tarball",
];

/// Checks what a request passes on to mmdebstrap and apt.
pub(super) fn check(request: &DebianRequest) -> Result<(), BuildError> {
    let refuse = |what, value: &str, reason| {
        Err(BuildError::Request { what, value: value.to_owned(), reason })
    };
    let word = |text: &str, marks: &str| {
        text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || marks.contains(c))
    };
    if !word(&request.suite, "-.") {
        return refuse("suite", &request.suite, "expected a name such as bookworm or trixie");
    }
    for package in &request.packages {
        if !word(package, "+-.:") {
            return refuse("package", package, "expected a name as apt knows it");
        }
    }
    if let Some(mirror) = &request.mirror {
        let known = ["http://", "https://", "file:///"].iter().any(|s| mirror.starts_with(s));
        if !known || mirror.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return refuse("mirror", mirror, "expected a URL of http, https or file");
        }
    }
    Ok(())
}

impl Build<'_> {
    /// Installs the packages into a tar file.
    pub(super) fn bootstrap(&self) -> Result<PathBuf, BuildError> {
        let out = self.to.scratch.join("packages.tar");
        let (lines, said) = mpsc::channel();
        let command = command(self.request, self.to.namespace, &out)
            .cancel(&self.to.env.cancel)
            .timeout(TIMEOUT)
            // It unpacks there, in a user namespace as a subordinate user.
            .env("TMPDIR", self.to.env.open)
            .on_line(move |line| drop(lines.send(line.to_owned())));
        let runner = self.to.env.runner;
        let result = std::thread::scope(|scope| {
            // The command holds the sender: the channel closes when it is dropped.
            let running =
                scope.spawn(move || -> Result<Output, ExecError> { runner.capture(&command) });
            for line in said {
                tell(self.to.reporter, &line);
            }
            running.join()
        });
        match result {
            Ok(Ok(_)) => Ok(out),
            Ok(Err(source)) => Err(BuildError::Bootstrap { remedy: remedy(&source), source }),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn command(request: &DebianRequest, namespace: Namespace, out: &Path) -> Command {
    let mode = match namespace {
        Namespace::Host => "--mode=root",
        Namespace::User => "--mode=unshare",
    };
    // Named, because mmdebstrap finds the key of another distribution's suite only with gpg.
    let keyring = Path::new(KEYRING).exists().then(|| format!("--keyring={KEYRING}"));
    let mut packages: Vec<&str> = PACKAGES.to_vec();
    packages.extend(request.packages.iter().map(String::as_str));
    Command::new(Tool::Mmdebstrap)
        .args([mode, "--variant=minbase", "--format=tar", "--architectures=amd64"])
        .args(keyring)
        .arg(format!("--include={}", packages.join(",")))
        .arg("--aptopt=Acquire::Languages \"none\"")
        .args([
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-include=/usr/share/doc/*/copyright",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            "--dpkgopt=path-include=/usr/share/locale/locale.alias",
        ])
        .arg(format!("--customize-hook=chroot \"$1\" sh -ec \"${KERNEL_VARIABLE}\""))
        .env(KERNEL_VARIABLE, KERNEL_SCRIPT)
        // No settings of the caller's: a subordinate user could not read them.
        .env("HOME", "/")
        .arg(&request.suite)
        .arg(out)
        .args(&request.mirror)
}

/// Passes on what mmdebstrap says of itself; the chatter of dpkg is left out.
fn tell(reporter: &dyn Reporter, line: &str) {
    let Some((kind @ ("I" | "W" | "E"), text)) = line.split_once(": ") else {
        return;
    };
    match STEPS.iter().position(|step| text.starts_with(step)) {
        Some(step) => reporter.progress(step as u64, Some(STEPS.len() as u64)),
        // Temporary folders, how apt drops its privileges, a key that we name: nothing to act on.
        None if kind == "I" || ["unsandboxed", "signed-by"].iter().any(|w| text.contains(w)) => {
            return;
        }
        None => {}
    }
    // The hook is quoted in full.
    let text = match text.split_once(" in shell: ") {
        Some((head, _)) if text.starts_with("running --customize-hook") => head,
        _ => text,
    };
    match kind {
        "I" => reporter.log(text),
        _ => reporter.log(line),
    }
}

/// What to do about a failure, told by what mmdebstrap or apt says.
fn remedy(error: &ExecError) -> Option<&'static str> {
    let (ExecError::Failed { stderr, .. } | ExecError::TimedOut { stderr, .. }) = error else {
        return None;
    };
    let said = |words: &[&str]| words.iter().any(|words| stderr.contains(words));
    if said(&["/etc/subuid", "/etc/subgid", "newuidmap", "newgidmap"]) {
        Some(
            "install the package uidmap, and give yourself subordinate ids with 'sudo usermod \
             --add-subuids 100000-165535 --add-subgids 100000-165535 $USER'",
        )
    } else if said(&["Operation not permitted", "unshare failed"]) {
        Some(
            "user namespaces may be switched off here: see 'sysctl kernel.unprivileged_userns_clone \
             kernel.apparmor_restrict_unprivileged_userns'",
        )
    } else if said(&["NO_PUBKEY", "is not signed", "keyring"]) {
        Some("install the package debian-archive-keyring")
    } else if said(&["Unable to locate package", "has no installation candidate"]) {
        Some("the suite has no such package")
    } else if said(&["Temporary failure resolving", "Could not connect", "Could not resolve"]) {
        Some("the mirror cannot be reached; --mirror names another")
    } else if said(&["does not have a Release file", "404  Not Found"]) {
        Some("the mirror has no such suite")
    } else if said(&["No space left on device"]) {
        Some("the disk of the scratch folder or of /var/tmp is full: about 2 GiB are needed")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::tests::request;
    use std::cell::RefCell;

    #[derive(Default)]
    struct Told(RefCell<Vec<String>>);

    impl Reporter for Told {
        fn stage(&self, name: &str) {
            self.0.borrow_mut().push(format!("= {name}"));
        }
        fn progress(&self, done: u64, total: Option<u64>) {
            self.0.borrow_mut().push(format!("{done} of {total:?}"));
        }
        fn log(&self, line: &str) {
            self.0.borrow_mut().push(line.to_owned());
        }
    }

    #[test]
    fn a_request_cannot_smuggle_options() {
        assert!(check(&request()).is_ok());
        let bad = |change: &dyn Fn(&mut DebianRequest)| {
            let mut request = request();
            change(&mut request);
            check(&request).unwrap_err().to_string()
        };
        insta::assert_snapshot!(bad(&|r| r.suite = "--help".into()), @"'--help' is not a suite: expected a name such as bookworm or trixie");
        insta::assert_snapshot!(bad(&|r| r.packages.push("a,b".into())), @"'a,b' is not a package: expected a name as apt knows it");
        insta::assert_snapshot!(bad(&|r| r.mirror = Some("deb http://x y main".into())), @"'deb http://x y main' is not a mirror: expected a URL of http, https or file");
    }

    #[test]
    fn the_mode_follows_the_user() {
        let mut request = request();
        request.packages = vec!["jq".to_owned()];
        request.mirror = Some("http://mirror.example/debian".to_owned());
        let line = |namespace| {
            let command = command(&request, namespace, "/out.tar".as_ref());
            let arguments = command.arguments().iter().map(|a| a.to_string_lossy());
            arguments.filter(|a| !a.contains("hook")).collect::<Vec<_>>().join(" ")
        };
        assert!(line(Namespace::User).starts_with("--mode=unshare "));
        let root = line(Namespace::Host);
        assert!(root.starts_with("--mode=root ") && root.contains(",jq "), "{root}");
        assert!(root.ends_with(" bookworm /out.tar http://mirror.example/debian"), "{root}");
    }

    #[test]
    fn what_mmdebstrap_says_becomes_progress() {
        let told = Told::default();
        for line in [
            "I: running apt-get update...",
            "Setting up tar (1.34) ...",
            "I: running --customize-hook in shell: sh -c 'chroot",
            "W: Download is performed unsandboxed as root",
            "I: removing tempdir /tmp/mmdebstrap.x",
            "W: something odd",
        ] {
            tell(&told, line);
        }
        insta::assert_snapshot!(told.0.borrow().join("\n"), @"
        0 of Some(8)
        running apt-get update...
        5 of Some(8)
        running --customize-hook
        W: something odd
        ");
    }
}
