//! Acting as root over a tree: directly, or in a user namespace that maps the
//! caller's subordinate uids (user_namespaces(7), subuid(5), unshare(1)).

use banger_exec::{Command, Tool};

/// How to own files of other users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// We are root.
    Host,
    /// A user namespace of our own, in which we are root.
    User,
}

impl Namespace {
    /// The way of the user that we run as.
    #[must_use]
    pub fn current() -> Self {
        Self::of(rustix::process::geteuid().as_raw())
    }

    /// The way of a user with this id.
    #[must_use]
    pub fn of(uid: u32) -> Self {
        if uid == 0 { Self::Host } else { Self::User }
    }

    /// A command that runs as root in it. The program is found on `PATH` in
    /// the namespace, so its folder must be there.
    #[must_use]
    pub fn command(self, tool: Tool) -> Command {
        match self {
            Self::Host => Command::new(tool),
            Self::User => Command::new(Tool::Unshare)
                .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
                .args(["--user", "--map-root-user", "--map-auto", "--", tool.program()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ordinary_user_needs_a_namespace() {
        let line = |uid| Namespace::of(uid).command(Tool::Tar).arg("-x").to_string();
        insta::assert_snapshot!(line(0), @"tar -x");
        insta::assert_snapshot!(line(1000), @"unshare --user --map-root-user --map-auto -- tar -x");
    }
}
