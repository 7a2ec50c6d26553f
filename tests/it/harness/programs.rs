//! Where the programs are, for whoever runs them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, OnceLock};

use super::As;
use super::base::copy_tree;

/// The folder that the programs are in.
pub fn programs(who: As) -> PathBuf {
    // …/target/debug/deps/it-…
    let exe = std::env::current_exe().unwrap();
    let built = exe.parent().unwrap().parent().unwrap().to_owned();
    if who == As::Me {
        return built;
    }
    // The user may be unable to reach the target folder.
    static COPY: LazyLock<PathBuf> = LazyLock::new(|| {
        // It lives as long as this process, and nothing sees its end: the next run clears up.
        let prefix = "bgr-bin-";
        for entry in fs::read_dir("/var/tmp").unwrap().flatten() {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| name.strip_prefix(prefix));
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let dir = PathBuf::from(format!("/var/tmp/{prefix}{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        dir
    });
    for name in ["banger", "bangerd", "banger-agent"] {
        let to = COPY.join(name);
        if !to.exists() {
            fs::copy(built.join(name), &to).unwrap();
        }
    }
    COPY.clone()
}

/// The folder of programs that the distribution does not have.
pub fn tools_folder(who: As) -> PathBuf {
    let own = std::env::var_os("BANGER_TOOLS").map_or_else(
        || {
            let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
            let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".local/share");
            data.unwrap_or_else(home).join("banger/tools")
        },
        PathBuf::from,
    );
    if who == As::Me {
        return own;
    }
    // root's home is closed to others; the wrappers name the folder that they are in.
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| {
        let dir = programs(As::User).join("tools");
        copy_tree(&own, &dir, false);
        for entry in fs::read_dir(dir.join("bin")).unwrap().flatten() {
            if let Ok(text) = fs::read_to_string(entry.path()) {
                let moved = text.replace(own.to_str().unwrap(), dir.to_str().unwrap());
                fs::write(entry.path(), moved).unwrap();
            }
        }
        dir
    })
    .clone()
}
