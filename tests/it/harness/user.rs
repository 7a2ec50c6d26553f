//! The ordinary user.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::sync::OnceLock;

use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};

use super::As;

/// The user that the tests make.
const USER: &str = "banger-test";

/// The ordinary user.
#[derive(Debug, Clone)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub home: String,
}

pub fn user() -> User {
    static FOUND: OnceLock<User> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            find_user().unwrap_or_else(|| {
                // Also gives a range of subordinate ids, which building an image needs.
                let add =
                    Command::new(Tool::Useradd).args(["--create-home", "--shell", "/bin/sh", USER]);
                HostRunner::new(Tools::discover()).capture(&add).unwrap();
                find_user().unwrap()
            })
        })
        .clone()
}

fn find_user() -> Option<User> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let fields: Vec<_> =
        passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|f| f[0] == USER)?;
    Some(User {
        uid: fields[2].parse().ok()?,
        gid: fields[3].parse().ok()?,
        home: fields[5].to_owned(),
    })
}

/// Makes all below `dir` the user's.
pub fn give(dir: &Path, who: As) {
    if who == As::Me {
        return;
    }
    let user = user();
    chown(dir, Some(user.uid), Some(user.gid)).unwrap();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            give(&entry.path(), who);
        } else if metadata.uid() != user.uid {
            chown(entry.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
    }
}
