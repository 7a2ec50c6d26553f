//! Real file systems for tests.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use banger_exec::{Cancel, Command, ExecError, HostRunner, Output, Runner, Tool, Tools};

use super::super::{Change, Disk, PatchError, Stat, recover};

/// Ways to make a file system, as mke2fs(8) is told of them.
pub const FLAVOURS: [&[&str]; 9] = [
    &["-b", "4096"],
    &["-b", "1024"],
    &["-b", "1024", "-O", "^metadata_csum"],
    &["-b", "1024", "-O", "^metadata_csum,^64bit,^has_journal", "-I", "128"],
    &["-b", "4096", "-O", "^dir_index"],
    &["-b", "1024", "-O", "^extent,^64bit"],
    &["-b", "1024", "-O", "orphan_file,metadata_csum_seed,fast_commit"],
    &["-b", "2048", "-E", "lazy_itable_init=1", "-O", "^metadata_csum,uninit_bg"],
    &["-b", "1024", "-O", "inline_data"],
];
pub const INLINE: usize = 8;

/// A file system in a folder of its own. Counts the programs that run.
pub struct Scene {
    pub folder: tempfile::TempDir,
    runner: HostRunner,
    pub cancel: Cancel,
    /// Ends every program, as the end of ours would.
    pub kill: Option<Cancel>,
    pub ran: Mutex<Vec<Tool>>,
}

impl Runner for Scene {
    fn capture(&self, command: &Command) -> Result<Output, ExecError> {
        self.ran.lock().unwrap().push(command.tool());
        match &self.kill {
            Some(kill) => self.runner.capture(&command.clone().cancel(kill)),
            None => self.runner.capture(command),
        }
    }

    fn detach(&self, command: &Command, log: &Path) -> Result<u32, ExecError> {
        self.runner.detach(command, log)
    }
}

impl Scene {
    /// One of `mib` MiB with what `fill` puts into a folder.
    pub fn new(mib: u64, flavour: &[&str], fill: impl FnOnce(&Path)) -> Self {
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
            runner: HostRunner::new(Tools::discover()),
            cancel: Cancel::default(),
            kill: None,
            ran: Mutex::default(),
        };
        let tree = scene.folder.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fill(&tree);
        File::create(scene.disk()).unwrap().set_len(mib << 20).unwrap();
        let args = ["-q", "-F", "-t", "ext4", "-E", "root_owner=0:0"];
        let mke2fs = Command::new(Tool::Mke2fs).args(args).args(flavour);
        scene.run(&mke2fs.arg("-d").arg(&tree).arg(scene.disk()));
        scene
    }

    pub fn empty() -> Self {
        Self::new(16, &[], |_| {})
    }

    /// A file system that is a copy of another one's.
    pub fn copy(of: &Self) -> Self {
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
            runner: of.runner.clone(),
            cancel: Cancel::default(),
            kill: None,
            ran: Mutex::default(),
        };
        fs::copy(of.disk(), scene.disk()).unwrap();
        scene
    }

    pub fn disk(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    pub fn run(&self, command: &Command) -> String {
        String::from_utf8_lossy(&self.runner.capture(command).unwrap().stdout).into_owned()
    }

    /// What debugfs says to a request.
    pub fn ask(&self, request: &str) -> String {
        let command = Command::new(Tool::Debugfs).args(["-w", "-R", request]);
        self.run(&command.arg(self.disk()))
    }

    pub fn apply(&self, changes: &[Change]) -> Result<(), PatchError> {
        Disk::open(self, &self.disk(), &self.cancel)?.apply(changes)
    }

    pub fn recover(&self) -> Result<(), PatchError> {
        recover(self, &self.disk(), &self.cancel)
    }

    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        let disk = self.disk();
        Disk::open(self, &disk, &self.cancel).unwrap().read(Path::new(path), 1 << 30).unwrap()
    }

    pub fn stat(&self, path: &str) -> Option<Stat> {
        let disk = self.disk();
        Disk::open(self, &disk, &self.cancel).unwrap().stat(Path::new(path)).unwrap()
    }

    /// e2fsck finds nothing to complain of.
    pub fn check(&self) {
        let command = Command::new(Tool::E2fsck).arg("-fn").arg(self.disk());
        if let Err(error) = self.runner.capture(&command) {
            panic!("{error}\n{error:?}");
        }
    }
}

pub fn write(path: &str, content: impl Into<Vec<u8>>) -> Change {
    Change::Write { path: path.into(), content: content.into(), mode: 0o644, owner: (0, 0) }
}
