//! How fast the TUI draws with many VMs and much going on, and whether its memory stays where it is:
//! `cargo bench -p banger-benches --bench tui`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use banger::tui::{Input, Model, Snapshot, Theme, update, view};
use banger_core::config::Config;
use banger_core::dashboard::{HostUse, Tick, VmStats};
use banger_core::id::{OperationId, VmId};
use banger_core::operation::{Event, EventKind, Operation, OperationKind, Outcome};
use banger_core::size::Size;
use banger_core::vm::{StopCause, Vm, VmState};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

const VMS: u64 = 500;
/// Events in a second.
const EVENTS: u64 = 20;
/// What is promised, for nineteen frames of twenty.
const PROMISED: Duration = Duration::from_millis(8);
const SCREEN: Rect = Rect { x: 0, y: 0, width: 200, height: 60 };

fn vm(i: u64, state: VmState) -> Vm {
    let run = json!({ "started_at": 1, "pid": 1, "vsock": "/v", "ready": [] });
    let vm = json!({
        "id": VmId::from_bits(i), "name": format!("machine-{i}"), "created_at": 1, "complete": true,
        "state": state, "run": if state.is_active() { run } else { json!(null) },
        "spec": {
            "image": "00000000000000a1", "image_name": "debian", "vcpus": 2, "memory": 1_u64 << 30,
            "disk": 8_u64 << 30, "network": "user", "opencode": true, "vmm": "qemu",
            "root_disk": "qcow2", "root_disk_reason": "instant",
        },
    });
    serde_json::from_value(vm).unwrap()
}

fn host(vms: &[Vm]) -> HostUse {
    let capacity =
        json!({ "cpus": 64, "memory": 1_u64 << 40, "disk": 1_u64 << 42, "disk_free": 1_u64 << 41 });
    HostUse::of(serde_json::from_value(capacity).unwrap(), vms, Size::gib(4))
}

fn snapshot(vms: Vec<Vm>) -> Snapshot {
    let check = json!({ "name": "KVM", "status": "ok", "detail": "works" });
    let daemon = json!({
        "version": "0", "pid": 1, "started_at": 1, "operations": 0, "running": 1, "kvm": true,
    });
    let dashboard = json!({ "daemon": daemon, "kvm": check, "sudo": check, "host": host(&vms) });
    Snapshot {
        dashboard: serde_json::from_value(dashboard).unwrap(),
        vms,
        images: Vec::new(),
        operations: Vec::new(),
    }
}

/// A second of what the daemon tells: numbers of all, and events that change VMs in turns.
fn second(now: u64, vms: &[Vm]) -> Vec<Input> {
    let stats = |(i, vm): (usize, &Vm)| {
        VmStats {
        vm: vm.id.clone(),
        stats: serde_json::from_value(json!({
            "cpu_ms": now, "cpu_percent": (now * 7 + i as u64) % 200, "rss_bytes": (now + i as u64) << 20,
            "disk": { "overlay_bytes": 1 << 20, "work_bytes": 1 << 20 },
        }))
        .unwrap(),
    }
    };
    let tick = Tick {
        at_ms: now * 1000,
        host: host(vms),
        vms: vms.iter().enumerate().map(stats).collect(),
    };
    let mut inputs = vec![Input::Tick(Box::new(tick))];
    for n in 0..EVENTS / 4 {
        let step = now * (EVENTS / 4) + n;
        let what = Operation {
            id: OperationId::from_bits(step),
            kind: OperationKind::VmStop,
            target: format!("machine-{}", step % VMS),
            vm: Some(VmId::from_bits(step % VMS)),
            started_at_ms: now * 1000,
            outcome: None,
        };
        let state = if (step / VMS).is_multiple_of(2) {
            VmState::Stopped(StopCause::Requested)
        } else {
            VmState::Running
        };
        let (id, changed) = (what.id.clone(), vm(step % VMS, state.clone()));
        let kinds = [
            EventKind::Begun { what: Box::new(what) },
            EventKind::VmChanged { vm: Box::new(changed.clone()) },
            EventKind::StateChanged { vm: changed.id, state },
            EventKind::Finished { outcome: Outcome::Cancelled },
        ];
        inputs.extend((1..).zip(kinds).map(|(i, kind)| {
            let event =
                Event { seq: step * 4 + i, operation: Some(id.clone()), at_ms: now * 1000, kind };
            Input::Event(Box::new(event))
        }));
    }
    inputs
}

/// What this thread has had of a processor. On a busy machine a frame waits for one, which is not
/// the frame's.
fn processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// Prints how long things took; the time within which nineteen of twenty did.
fn tell(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!(
        "{what}: median {:?}, p95 {:?}, p99 {:?}, longest {:?}",
        at(50),
        at(95),
        at(99),
        at(100)
    );
    at(95)
}

/// Resident memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The key of a character.
fn key(code: KeyCode) -> Input {
    Input::Key(KeyEvent::new(code, KeyModifiers::NONE))
}

/// Frames of a console that is full and searched, and of an operation with all the output that is
/// kept, while a line comes with each.
fn long_texts(model: &mut Model, draw: &mut dyn FnMut(&mut Model)) -> [Duration; 2] {
    let mut frames = |model: &mut Model, come: &dyn Fn(u64) -> Input| {
        let mut costs = Vec::new();
        for n in 0..300 {
            let used = processor();
            drop(update(model, come(n)));
            draw(model);
            costs.push(processor() - used);
        }
        costs
    };
    drop(update(model, key(KeyCode::Char('l'))));
    let text = "a line of a console, as long as some are, and a bit longer ".repeat(13);
    for n in 0..5000 {
        drop(update(model, Input::Log(1, format!("{n} {text}\n").into_bytes())));
    }
    for code in ["/", "l", "i", "n", "e"] {
        drop(update(model, key(KeyCode::Char(code.chars().next().unwrap()))));
    }
    drop(update(model, key(KeyCode::Enter)));
    let log = frames(model, &|n| Input::Log(1, format!("{n} {text}\n").into_bytes()));
    assert!(model.log.as_ref().is_some_and(|log| log.lines.len() > 4000));
    drop(update(model, key(KeyCode::Char('3'))));
    drop(update(model, key(KeyCode::Char('g'))));
    let first = u64::MAX / 2;
    let operation = OperationId::from_bits(first);
    let event = |n, kind| {
        let operation = Some(operation.clone());
        Input::Event(Box::new(Event { seq: first + n, operation, at_ms: 1 << 60, kind }))
    };
    let what = Operation {
        id: operation.clone(),
        kind: OperationKind::ImageBuild,
        target: "tools".to_owned(),
        vm: None,
        started_at_ms: 1 << 60,
        outcome: None,
    };
    drop(update(model, event(0, EventKind::Begun { what: Box::new(what) })));
    drop(update(model, key(KeyCode::Char('g'))));
    let line = |n: u64| EventKind::Log { line: format!("Setting up package-{n} {text}") };
    for n in 1..600 {
        drop(update(model, event(n, line(n))));
    }
    let operations = frames(model, &|n| event(1000 + n, line(n)));
    [
        tell("a frame of a console of 4 MiB that is searched, of a processor", log),
        tell("a frame of an operation with its output, of a processor", operations),
    ]
}

fn main() {
    let vms: Vec<_> = (0..VMS).map(|i| vm(i, VmState::Running)).collect();
    let mut model = Model::new(Config::default(), 0);
    update(&mut model, Input::Loaded(Box::new(snapshot(vms.clone()))));
    // What a terminal would get is made, and thrown away.
    let options = TerminalOptions { viewport: Viewport::Fixed(SCREEN) };
    let mut terminal =
        Terminal::with_options(CrosstermBackend::new(std::io::sink()), options).unwrap();
    let (mut frames, mut costs) = (Vec::new(), Vec::new());
    let mut memory = HashMap::new();
    let seconds = 300;
    for now in 1..=seconds {
        // Each comes by itself, and is drawn at once: the worst there is.
        let turn = key(if now % 20 < 10 { KeyCode::PageDown } else { KeyCode::PageUp });
        for input in second(now, &vms).into_iter().chain([turn]) {
            let (began, used) = (Instant::now(), processor());
            drop(update(&mut model, input));
            terminal.draw(|frame| view(frame, &mut model, Theme { colours: true })).unwrap();
            costs.push(processor() - used);
            frames.push(began.elapsed());
        }
        memory.insert(now, resident());
    }
    println!(
        "{VMS} VMs, {EVENTS} events a second, {} × {}: {} frames",
        SCREEN.width,
        SCREEN.height,
        frames.len()
    );
    tell("a frame takes", frames);
    let p95 = tell("… of a processor", costs);
    let (early, late) = (memory[&(seconds / 4)], memory[&seconds]);
    println!("resident memory after {} s: {early} KiB, after {seconds} s: {late} KiB", seconds / 4);
    let texts = long_texts(&mut model, &mut |model| {
        let drawn = |frame: &mut ratatui::Frame<'_>| view(frame, model, Theme { colours: true });
        terminal.draw(drawn).unwrap();
    });
    for p95 in [p95].into_iter().chain(texts) {
        assert!(p95 <= PROMISED, "slower than {PROMISED:?}");
    }
    // A tenth is what an allocator moves by itself.
    assert!(late <= early + early / 10, "it grows");
}
