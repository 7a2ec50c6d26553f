//! Every screen, in several sizes and states. `INSTA_UPDATE=always cargo test -p banger screens`
//! writes them anew, `BANGER_DOCS=write` those in `docs/`.

use banger_core::id::VmId;
use banger_core::net::Lease;
use banger_core::operation::{EventKind, OperationKind, Outcome};
use banger_core::size::Size;
use banger_core::vm::{Network, PauseCause, StopCause, VmState};
use crossterm::event::KeyCode;
use ratatui::style::Color;

use super::scene::{Scene, report, snapshot, vm};
use super::svg;
use crate::tui::model::Ports;
use crate::tui::update::{Input, Then};

const SMALL: (u16, u16) = (80, 24);
const MIDDLE: (u16, u16) = (120, 36);
const LARGE: (u16, u16) = (200, 60);

/// Holds a screen against the one that is kept.
pub fn assert_screen(name: &str, scene: &mut Scene) {
    let (width, height) = scene.size;
    insta::assert_snapshot!(format!("{name}-{width}x{height}"), scene.screen());
}

/// Makes a scene of a size.
type Make = fn((u16, u16)) -> Scene;

fn in_all_sizes(name: &str, make: Make) {
    for size in [SMALL, MIDDLE, LARGE] {
        assert_screen(name, &mut make(size));
    }
}

/// A VM is being made, beside others.
fn busy(size: (u16, u16)) -> Scene {
    let mut scene = Scene::usual(size);
    let new = vm(4, "build-box", VmState::Starting);
    scene.begun(1, OperationKind::VmCreate, "build-box", Some(4));
    scene.event(Some(1), EventKind::VmChanged { vm: Box::new(new) });
    scene.stage(1, "disks", Some(46));
    scene.stage(1, "boot", Some(134));
    scene.stage(1, "agent", None);
    scene.begun(2, OperationKind::ImageBuild, "tools", None);
    scene.stage(2, "bootstrap", None);
    let stage = "bootstrap".to_owned();
    scene.event(Some(2), EventKind::Progress { stage, done: 30 << 20, total: Some(80 << 20) });
    scene.event(Some(2), EventKind::Log { line: "Unpacking libc6".to_owned() });
    scene
}

fn with_ports(size: (u16, u16)) -> Scene {
    let mut scene = busy(size);
    // From the new one.
    scene.press(KeyCode::Down).press(KeyCode::Down);
    let id = VmId::from_bits(1);
    let port = |port, process: &str| banger_core::agent::Port {
        port,
        address: "0.0.0.0".to_owned(),
        process: Some(process.to_owned()),
    };
    scene.take(Input::Ports(
        id.clone(),
        Ports::Known(vec![port(22, "sshd"), port(4096, "opencode")]),
    ));
    scene.take(Input::Forwarded(id, 4096, ([127, 0, 0, 1], 45787).into(), Then::Copy));
    scene
}

/// VMs in all states that stay, one with an address, and what happened to it.
fn states(size: (u16, u16)) -> Scene {
    let limit = Size::mib(300);
    let detail = "no vsock".to_owned();
    let cause = "loop device 7 is busy".to_owned();
    let states = [
        ("dev", VmState::Running),
        ("full", VmState::Paused(PauseCause::OverlayFull { used: limit, limit })),
        ("late", VmState::Paused(PauseCause::DiskFull { free: Size::mib(3) })),
        ("torn", VmState::Failed { cause, removing: false }),
        ("new", VmState::Stopped(StopCause::New)),
        ("off", VmState::Stopped(StopCause::GuestShutdown)),
        ("bad", VmState::Stopped(StopCause::StartFailed { detail })),
        ("cut", VmState::Stopped(StopCause::HostRebooted)),
    ];
    let vms = states.into_iter().enumerate().map(|(i, (name, state))| {
        let mut vm = vm(i as u64 + 1, name, state);
        if name == "dev" {
            vm.spec.network = Network::Nat;
            vm.lease = Some(Lease::of([10, 77, 0, 5].into()));
        }
        vm
    });
    let mut scene = Scene::new(size);
    scene.take(Input::Loaded(Box::new(snapshot(vms.collect(), Vec::new()))));
    for i in 0..60 {
        scene.tick(f64::from(i) * 3.0);
    }
    scene.begun(1, OperationKind::VmRestart, "dev", Some(1));
    let id = VmId::from_bits(1);
    for state in [VmState::Stopping, VmState::Starting, VmState::Running] {
        scene.event(Some(1), EventKind::StateChanged { vm: id.clone(), state });
    }
    scene.event(Some(1), EventKind::Finished { outcome: Outcome::Succeeded { object: None } });
    scene.click(" dev ");
    let address = "0.0.0.0".to_owned();
    let port = banger_core::agent::Port { port: 8000, address, process: Some("node".to_owned()) };
    scene.take(Input::Ports(id, Ports::Known(vec![port])));
    scene
}

fn form(size: (u16, u16)) -> Scene {
    let mut scene = Scene::usual(size);
    scene.keys("n").keys("dev").press(KeyCode::Down);
    scene
}

fn operations(size: (u16, u16)) -> Scene {
    let mut scene = busy(size);
    scene.begun(3, OperationKind::VmStart, "ci", Some(2));
    scene.stage(3, "boot", Some(130));
    scene.failed(3, "the guest did not boot", "banger vm logs ci");
    scene.press(KeyCode::Enter).keys("3");
    scene
}

fn doctor(size: (u16, u16)) -> Scene {
    let mut scene = Scene::usual(size);
    scene.keys("4");
    scene.take(Input::Doctor(Ok(report())));
    scene
}

fn log(size: (u16, u16)) -> Scene {
    let mut scene = Scene::usual(size);
    scene.press(KeyCode::Down).keys("l");
    let text = "[    0.000000] Linux version 6.1.0-56-cloud-amd64\r\n\
        [    1.204511] banger: the work disk is mounted\r\n[  OK  ] Started \x1b[1mssh.service\x1b[0m\r\n\
        名前の長い行 名前の長い行 名前の長い行 名前の長い行 名前の長い行 名前の長い行 名前の長い行\r\n";
    scene.take(Input::Log(1, text.as_bytes().to_vec()));
    scene
}

fn problem(size: (u16, u16)) -> Scene {
    let mut scene = Scene::usual(size);
    scene.begun(3, OperationKind::VmStart, "ci", Some(2));
    scene.failed(3, "the agent of 'ci' did not answer within 240 s", "banger vm logs ci");
    scene
}

#[test]
fn the_vms() {
    in_all_sizes("vms", with_ports);
}

#[test]
fn the_states() {
    in_all_sizes("states", states);
}

#[test]
fn a_form_that_is_wrong() {
    in_all_sizes("form", form);
}

#[test]
fn the_operations() {
    in_all_sizes("operations", operations);
}

#[test]
fn the_images() {
    in_all_sizes("images", |size| {
        let mut scene = Scene::usual(size);
        scene.keys("2");
        scene
    });
}

#[test]
fn the_doctor() {
    in_all_sizes("doctor", doctor);
}

#[test]
fn the_other_screens() {
    let mut scene = Scene::new(SMALL);
    assert_screen("connecting", &mut scene);
    let mut none = snapshot(vec![], vec![]);
    none.images.clear();
    scene.take(Input::Loaded(Box::new(none)));
    assert_screen("nothing", &mut scene);
    let mut scene = with_ports(SMALL);
    scene.press(KeyCode::Enter);
    assert_screen("details", &mut scene);
    assert_screen("log", &mut log(SMALL));
    assert_screen("problem", &mut problem(SMALL));
    let mut scene = Scene::usual(SMALL);
    scene.take(Input::Away("cannot connect to /run/user/1000/banger/bangerd.sock".to_owned()));
    assert_screen("away", &mut scene);
}

#[test]
fn the_dialogs() {
    for (name, keys) in [
        ("palette", ":im"),
        ("help", "?"),
        ("delete", "D"),
        ("delete-all", "aD"),
        ("kill", "jK"),
        ("build", "2b"),
        ("pull", "2p"),
        ("filter", "/de"),
        ("rename", "m"),
        ("resize", "z"),
        ("image-of-vm", "P"),
        ("start-all", "as"),
        ("overlay", "jz"),
    ] {
        assert_screen(name, Scene::usual(SMALL).keys(keys));
    }
    let mut scene = with_ports(SMALL);
    scene.done();
    let id = scene.model.vm().unwrap().id.clone();
    let ports = scene.model.ports[&id].clone();
    scene.keys("o");
    scene.take(Input::Ports(id, ports));
    assert_screen("ports", &mut scene);
}

#[test]
fn a_screen_that_is_too_small_says_so() {
    assert_screen("small", &mut Scene::usual((30, 8)));
    // All others down to a point are drawn somehow.
    for size in [(1, 1), (40, 10), (41, 11), (3, 60), (200, 3)] {
        form(size).screen();
        with_ports(size).screen();
    }
}

#[test]
fn without_colours_there_are_none() {
    for mut scene in
        [with_ports(LARGE), operations(LARGE), doctor(SMALL), problem(SMALL), form(SMALL)]
    {
        let terminal = scene.draw(false);
        let coloured =
            |cell: &&ratatui::buffer::Cell| cell.fg != Color::Reset || cell.bg != Color::Reset;
        assert_eq!(terminal.backend().buffer().content.iter().filter(coloured).count(), 0);
        let terminal = scene.draw(true);
        assert_ne!(terminal.backend().buffer().content.iter().filter(coloured).count(), 0);
    }
}

#[test]
fn the_pictures_in_docs_are_of_this_tui() {
    let pictures: [(&str, Make, (u16, u16)); 4] = [
        ("vms", with_ports, (140, 34)),
        ("create", form, (100, 28)),
        ("operations", operations, (100, 28)),
        ("doctor", doctor, (100, 18)),
    ];
    for (name, make, size) in pictures {
        let drawn = svg::svg(make(size).draw(true).backend().buffer());
        let path = format!("{}/../../docs/tui/{name}.svg", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("BANGER_DOCS").is_some() {
            std::fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
            std::fs::write(&path, &drawn).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == drawn, "{path} is old: BANGER_DOCS=write cargo test -p banger pictures");
    }
}
