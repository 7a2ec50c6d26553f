//! A daemon that is made up, and a person who types.

use banger_core::api::{DiskUse, ImageInfo, Stats};
use banger_core::config::Config;
use banger_core::dashboard::{Dashboard, HostUse, Tick, VmStats};
use banger_core::doctor::{Check, DoctorReport};
use banger_core::id::{OperationId, VmId};
use banger_core::operation::{Event, EventKind, Failure, Operation, OperationKind, Outcome};
use banger_core::size::Size;
use banger_core::vm::{Readiness, Run, StopCause, Vm, VmState};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use crate::tui::model::{Model, Snapshot};
use crate::tui::update::{Effect, Input, update};
use crate::tui::view::{Theme, view};

/// When it is: 12:00:00 UTC.
pub const NOW: u64 = 1_795_608_000_000;

pub fn vm(bits: u64, name: &str, state: VmState) -> Vm {
    let active = state.is_active();
    let spec = json!({
        "image": "00000000000000a1", "image_name": "debian", "vcpus": 2, "memory": 1_u64 << 30,
        "disk": 8_u64 << 30, "network": "user", "opencode": true, "vmm": "qemu",
        "root_disk": "qcow2", "root_disk_reason": "instant on any file system, and QEMU can use it",
    });
    let vm = json!({
        "id": VmId::from_bits(bits), "name": name, "spec": spec, "state": state,
        "created_at": NOW / 1000 - 9000, "complete": true,
    });
    let ready = |stage: &str, ms| Readiness { stage: stage.to_owned(), ms };
    let run = Run {
        started_at: NOW / 1000 - 3725,
        pid: 4711,
        vsock: "/run/v".to_owned(),
        boot_id: None,
        ready: vec![ready("boot", 139), ready("agent", 4011), ready("ssh", 6020)],
    };
    let vm: Vm = serde_json::from_value(vm).unwrap();
    Vm { run: active.then_some(run), ..vm }
}

pub fn image(bits: u64, name: &str) -> ImageInfo {
    let image = json!({
        "id": format!("{bits:016x}"), "name": name, "source": { "kind": "debian", "suite": "bookworm" },
        "created_at": NOW / 1000 - 90_000, "rootfs_size": 4_u64 << 30, "opencode": "1.18.33",
        "boot_set": {
            "kernel_release": "6.1.0-56-cloud-amd64", "boot_args": "root=/dev/vda quiet",
            "agent_version": "0.1.0",
        },
        "apparent_bytes": 5_u64 << 30, "real_bytes": 612_u64 << 20, "used_by": [],
    });
    serde_json::from_value(image).unwrap()
}

pub fn host(vms: &[Vm]) -> HostUse {
    let capacity = json!({
        "cpus": 4, "memory": 16_u64 << 30, "disk": 100_u64 << 30, "disk_free": 60_u64 << 30,
    });
    let disk = Size::mib(10 * vms.len() as u64);
    HostUse::of(serde_json::from_value(capacity).unwrap(), vms, disk)
}

pub fn snapshot(vms: Vec<Vm>, operations: Vec<Operation>) -> Snapshot {
    let daemon = json!({
        "version": "0.1.0", "build": "build-000000000001", "pid": 4242, "started_at": NOW / 1000 - 60,
        "operations": 0, "running": 1, "last_event": 100, "kvm": false,
    });
    Snapshot {
        dashboard: Dashboard {
            daemon: serde_json::from_value(daemon).unwrap(),
            kvm: Check::warning("KVM", "it does not work"),
            sudo: Check::ok("sudo", "ready"),
            host: host(&vms),
        },
        vms,
        images: vec![image(0xa1, "debian"), image(0xa2, "dev-tools")],
        operations,
    }
}

/// A person at a screen.
pub struct Scene {
    pub model: Model,
    pub effects: Vec<Effect>,
    pub size: (u16, u16),
    seq: u64,
}

impl Scene {
    /// Nothing is known.
    pub fn new(size: (u16, u16)) -> Self {
        Self { model: Model::new(Config::default(), NOW), effects: Vec::new(), size, seq: 100 }
    }

    /// A few VMs: one that runs, one that crashed, one that was never started.
    pub fn usual(size: (u16, u16)) -> Self {
        let crashed = StopCause::Crashed { detail: "exit status 1".to_owned() };
        let vms = vec![
            vm(1, "dev", VmState::Running),
            vm(2, "ci", VmState::Stopped(crashed)),
            vm(3, "scratch", VmState::Stopped(StopCause::New)),
        ];
        let mut scene = Self::new(size);
        scene.take(Input::Loaded(Box::new(snapshot(vms, Vec::new()))));
        for i in 0..20 {
            scene.tick(f64::from(i) * 10.0);
        }
        scene
    }

    pub fn take(&mut self, input: Input) -> &mut Self {
        self.effects.extend(update(&mut self.model, input));
        self
    }

    /// All VMs take something; those that run so much of a CPU.
    pub fn tick(&mut self, percent: f64) {
        let vms: Vec<_> = self.model.lists.vms.values().cloned().collect();
        let stats = |vm: &Vm| VmStats {
            vm: vm.id.clone(),
            stats: Stats {
                cpu_ms: vm.run.as_ref().map(|_| 1000),
                cpu_percent: vm.run.as_ref().map(|_| percent),
                rss_bytes: vm.run.as_ref().map(|_| (300 + percent as u64) << 20),
                uptime_s: None,
                disk: DiskUse { overlay_bytes: 5 << 20, work_bytes: 3 << 20 },
                traffic: None,
            },
        };
        let tick = Tick { at_ms: NOW, host: host(&vms), vms: vms.iter().map(stats).collect() };
        self.take(Input::Tick(Box::new(tick)));
    }

    pub fn event(&mut self, operation: Option<u64>, kind: EventKind) -> &mut Self {
        self.seq += 1;
        let operation = operation.map(OperationId::from_bits);
        let at_ms = NOW - 5000 + self.seq * 10;
        self.take(Input::Event(Box::new(Event { seq: self.seq, operation, at_ms, kind })))
    }

    /// An operation begins.
    pub fn begun(&mut self, bits: u64, kind: OperationKind, target: &str, vm: Option<u64>) {
        let what = Box::new(Operation {
            id: OperationId::from_bits(bits),
            kind,
            target: target.to_owned(),
            vm: vm.map(VmId::from_bits),
            started_at_ms: NOW - 4000,
            outcome: None,
        });
        let operation = Operation::clone(&what);
        self.event(Some(bits), EventKind::Begun { what });
        self.take(Input::Begun(operation));
    }

    pub fn stage(&mut self, bits: u64, name: &str, ms: Option<u64>) {
        let stage = || name.to_owned();
        self.event(Some(bits), EventKind::StageStarted { stage: stage() });
        if let Some(ms) = ms {
            self.event(Some(bits), EventKind::StageDone { stage: stage(), ms });
        }
    }

    pub fn failed(&mut self, bits: u64, message: &str, remedy: &str) {
        let failure = Failure {
            message: message.to_owned(),
            remedy: Some(remedy.to_owned()),
            console: "[    1.2] Kernel panic - not syncing".to_owned(),
            rollback: vec![],
        };
        self.event(Some(bits), EventKind::Finished { outcome: Outcome::Failed { failure } });
    }

    pub fn press(&mut self, code: KeyCode) -> &mut Self {
        self.take(Input::Key(KeyEvent::new(code, KeyModifiers::NONE)));
        // As the shell does: a key is seen before the next is pressed.
        self.draw(true);
        self
    }

    /// Types a text, a key for each character.
    pub fn keys(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            self.press(KeyCode::Char(c));
        }
        self
    }

    pub fn mouse(&mut self, kind: MouseEventKind, column: u16, row: u16) -> &mut Self {
        let event = MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE };
        self.take(Input::Mouse(event));
        self.draw(true);
        self
    }

    /// Clicks on the first place of the screen that has this text.
    pub fn click(&mut self, text: &str) -> &mut Self {
        let screen = self.screen();
        let found = screen.lines().enumerate().find_map(|(row, line)| {
            let at = line.find(text)?;
            Some((line[..at].chars().count(), row))
        });
        let (column, row) = found.unwrap_or_else(|| panic!("no '{text}' on\n{screen}"));
        self.mouse(MouseEventKind::Down(MouseButton::Left), column as u16 + 1, row as u16)
    }

    pub fn draw(&mut self, colours: bool) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(self.size.0, self.size.1)).unwrap();
        terminal.draw(|frame| view(frame, &mut self.model, Theme { colours })).unwrap();
        terminal
    }

    /// The screen as text, without the spaces at the ends of its lines.
    pub fn screen(&mut self) -> String {
        let terminal = self.draw(true);
        let buffer = terminal.backend().buffer();
        let mut text = String::new();
        for y in 0..buffer.area.height {
            let mut x = 0;
            let mut line = String::new();
            while x < buffer.area.width {
                let symbol = buffer[(x, y)].symbol();
                line.push_str(symbol);
                x += unicode_width::UnicodeWidthStr::width(symbol).max(1) as u16;
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// What is to be done outside, since the last time.
    pub fn done(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }
}

/// What the doctor found.
pub fn report() -> DoctorReport {
    DoctorReport {
        checks: vec![
            Check::warning(
                "KVM",
                "neither kvm_intel nor kvm_amd is loaded; VMs are emulated, and slow",
            )
            .remedy("sudo modprobe kvm_intel"),
            Check::ok("ssh", "/usr/bin/ssh"),
            Check::missing("mmdebstrap", "needed for building Debian images")
                .remedy("sudo apt-get install mmdebstrap"),
        ],
    }
}
