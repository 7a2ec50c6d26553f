//! The disks of a VM, made by hand: what `vm create` does of them, by the programs that a person has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use banger_core::dirs::{Dirs, vm_files};
use banger_core::image::files;
use banger_core::vm::{RootDisk, Vm};
use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};

use super::statistics::ms;
use crate::error::CommandError;

/// Disks made by hand. They go when this is dropped.
pub struct Disks {
    runner: HostRunner,
    dir: PathBuf,
    device: String,
    loops: Vec<String>,
}

impl Disks {
    /// Makes disks like those of `vm`, with its host key and its root device. Returns how long it
    /// took, in milliseconds.
    pub fn time(vm: &Vm, dirs: &Dirs) -> Result<f64, CommandError> {
        if vm.spec.root_disk != RootDisk::DmSnapshot {
            let why = format!(
                "the root disk of {} is none by the device mapper, and only such are made by hand",
                vm.name
            );
            return Err(CommandError::new(why).remedy("leave '--by-hand' out"));
        }
        let name = format!("bench-{}", std::process::id());
        let mut disks = Self {
            runner: HostRunner::new(Tools::discover()),
            // Where the VM's own are: the file system matters.
            dir: dirs.state.join(&name),
            device: name,
            loops: Vec::new(),
        };
        let began = Instant::now();
        disks.make(vm, &dirs.image(vm.spec.image.as_str()))?;
        Ok(ms(began.elapsed()))
    }

    fn make(&mut self, vm: &Vm, image: &Path) -> Result<(), CommandError> {
        fs::create_dir(&self.dir)?;
        let rootfs = image.join(files::ROOTFS);
        let overlay = vm_files::overlay(&self.dir);
        fs::File::create_new(&overlay)?.set_len(fs::metadata(&rootfs)?.len())?;
        let work = vm_files::work_disk(&self.dir);
        let copy = Command::new(Tool::Cp).args(["--reflink=auto", "--sparse=always", "--"]);
        self.run(copy.args([&image.join(files::WORK_SEED), &work]))?;
        fs::File::options().write(true).open(&work)?.set_len(vm.spec.disk.as_bytes())?;
        self.run(Command::new(Tool::Resize2fs).arg(&work))?;
        let key = Command::new(Tool::SshKeygen).args(["-q", "-t", "ed25519", "-N", "", "-f"]);
        self.run(key.arg(vm_files::host_key(&self.dir)))?;
        let base = self.attach(&rootfs, &["--read-only"])?;
        let cow = self.attach(&overlay, &[])?;
        let sectors = self.run(Command::new(Tool::Blockdev).args(["--getsz", &base]))?;
        let table = format!("0 {sectors} snapshot {base} {cow} P 8");
        self.run(Command::new(Tool::Dmsetup).args(["create", &self.device, "--table", &table]))?;
        Ok(())
    }

    fn attach(&mut self, file: &Path, more: &[&str]) -> Result<String, CommandError> {
        let command = Command::new(Tool::Losetup).args(["--find", "--show"]).args(more);
        let device = self.run(command.arg(file))?;
        self.loops.push(device.clone());
        Ok(device)
    }

    fn run(&self, command: Command) -> Result<String, CommandError> {
        let output = self.runner.capture(&command)?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        // What was never made cannot be released.
        let _ = self.run(Command::new(Tool::Dmsetup).args(["remove", "--retry", &self.device]));
        for device in self.loops.iter().rev() {
            let _ = self.run(Command::new(Tool::Losetup).args(["--detach", device]));
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}
