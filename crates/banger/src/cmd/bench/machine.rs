//! What a figure was measured on.

use std::fs;

use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};
use serde::Serialize;

/// The machine, as far as it bears on times.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
    pub qemu: String,
    /// Whether VMs have KVM; they are emulated otherwise.
    pub kvm: bool,
    /// How many programs wanted a CPU in the last minute, on average, before
    /// the measuring began.
    pub load: f64,
    pub banger: &'static str,
}

impl Machine {
    /// This one. What cannot be told is empty: it is no reason not to measure.
    pub fn this(kvm: bool) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let qemu = Command::new(Tool::QemuSystem).arg("--version");
        let qemu = HostRunner::new(Tools::discover()).capture(&qemu);
        let qemu = qemu.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        Self {
            cpu: cpu_model(&read("/proc/cpuinfo")),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            qemu: qemu.unwrap_or_default().lines().next().unwrap_or_default().to_owned(),
            kvm,
            load: load(&read("/proc/loadavg")),
            banger: env!("CARGO_PKG_VERSION"),
        }
    }

    /// In one line.
    pub fn line(&self) -> String {
        let how = if self.kvm { "KVM" } else { "emulation" };
        format!(
            "{} × {}, Linux {}, {} ({how}), load {}",
            self.cores, self.cpu, self.kernel, self.qemu, self.load
        )
    }
}

fn cpu_model(cpuinfo: &str) -> String {
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or("", |(_, model)| model).trim().to_owned()
}

fn load(loadavg: &str) -> f64 {
    loadavg.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC 7763\nmodel name\t: other\n";
        assert_eq!(cpu_model(cpuinfo), "AMD EPYC 7763");
        assert_eq!(cpu_model("processor : 0"), "");
        assert_eq!(load("0.19 0.31 0.79 2/345 678\n"), 0.19);
        assert_eq!(load(""), 0.0);
    }
}
