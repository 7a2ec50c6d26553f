//! The ways to what can be done: names, hints, clicks; and what is told of it.

use banger_core::operation::{EventKind, OperationKind, Outcome};
use banger_core::size::Size;
use banger_core::vm::{PauseCause, VmState};
use crossterm::event::{KeyCode, KeyModifiers, MouseEventKind};

use super::scene::{Scene, host, report, snapshot, vm};
use crate::tui::dialog::{Dialog, Problem};
use crate::tui::model::{Ports, Tab};
use crate::tui::update::{Effect, Input, Then};

fn problem(title: &str) -> Problem {
    Problem::new(title, "it did not work", Some("try again".to_owned()))
}

fn port(port: u16) -> banger_core::agent::Port {
    banger_core::agent::Port { port, address: "127.0.0.1".to_owned(), process: None }
}

/// The last line of the screen.
fn foot(scene: &mut Scene) -> String {
    scene.screen().lines().last().unwrap_or_default().to_owned()
}

#[test]
fn the_head_keeps_what_works_here_however_long_the_numbers_are() {
    let vms: Vec<_> = (0..12).map(|i| vm(i, &format!("vm{i}"), VmState::Running)).collect();
    for width in [50, 60, 70, 80, 100, 200] {
        let mut scene = Scene::new((width, 24));
        let mut loaded = snapshot(vms.clone(), Vec::new());
        loaded.dashboard.daemon.pid = 4_194_303;
        loaded.dashboard.host.capacity.memory = Size::bytes(503_500 << 20);
        loaded.dashboard.host.capacity.disk = Size::bytes(1_843 << 30);
        loaded.dashboard.host.capacity.disk_free = Size::bytes(1_001 << 30);
        loaded.dashboard.host.capacity.cpus = 128;
        loaded.dashboard.host.disk = Size::bytes(456_800 << 20);
        scene.take(Input::Loaded(Box::new(loaded)));
        let screen = scene.screen();
        let line = screen.lines().nth(1).unwrap();
        assert!(line.ends_with("sudo ✓ KVM ✗"), "{width}: {line}");
        if width >= 80 {
            assert!(screen.lines().next().unwrap().contains("0.1.0"), "{screen}");
            for part in ["24/128", "12G/492G", "446G/1.8T"] {
                assert!(line.contains(part), "{part}: {line}");
            }
        }
    }
}

#[test]
fn no_digit_of_a_number_is_cut() {
    for mib in [9, 99, 999, 1012, 1023, 10_000, 123_456] {
        let mut scene = Scene::usual((80, 24));
        let mut tick = banger_core::dashboard::Tick { at_ms: 0, host: host(&[]), vms: vec![] };
        for (id, taken) in &scene.model.taken {
            let mut stats = taken.stats.clone();
            stats.rss_bytes = Some(mib << 20);
            stats.disk.work_bytes = mib << 20;
            tick.vms.push(banger_core::dashboard::VmStats { vm: id.clone(), stats });
        }
        scene.take(Input::Tick(Box::new(tick)));
        let screen = scene.screen();
        let rss = match mib {
            9 => "9M",
            99 => "99M",
            999 => "999M",
            1012 => "1G",
            1023 => "1G",
            10_000 => "9.8G",
            _ => "121G",
        };
        let line = screen.lines().find(|line| line.contains(" dev ")).unwrap();
        assert!(line.split_whitespace().any(|word| word == rss), "{mib}: {line}");
    }
}

#[test]
fn the_palette_knows_the_acts_of_other_tabs_and_goes_there() {
    let mut scene = Scene::usual((80, 24));
    scene.keys(":").keys("look again").press(KeyCode::Enter);
    assert_eq!(scene.model.tab, Tab::Doctor);
    assert!(scene.done().contains(&Effect::Examine));
    scene.take(Input::Doctor(Ok(report())));
    scene.keys(":").keys("pull").press(KeyCode::Enter);
    assert_eq!(scene.model.tab, Tab::Images);
    assert!(matches!(scene.model.dialogs.last(), Some(Dialog::Form(_))));
    // Without a word it begins with what is done here, and has nothing that only moves.
    scene.press(KeyCode::Esc).keys("1:");
    let screen = scene.screen();
    assert!(screen.contains("make a VM") && !screen.contains("a line up"), "{screen}");
    scene.click("rename");
    assert!(scene.screen().contains("rename ci"));
}

#[test]
fn the_last_line_offers_what_fits_and_is_clicked() {
    let mut scene = Scene::usual((100, 30));
    assert!(foot(&mut scene).starts_with(" s start z resize"));
    scene.press(KeyCode::Down);
    assert!(foot(&mut scene).starts_with(" e ssh l logs o ports S stop"));
    scene.keys(" ");
    assert!(foot(&mut scene).starts_with(" s start S stop"));
    scene.press(KeyCode::Esc).press(KeyCode::Up).click("e ssh");
    assert!(scene.done().iter().any(|effect| matches!(effect, Effect::Ssh(_))));
    scene.press(KeyCode::Esc);
    scene.begun(1, OperationKind::VmStop, "dev", Some(1));
    scene.press(KeyCode::Esc);
    assert!(foot(&mut scene).starts_with(" c cancel"));
    scene.keys("c").click("y yes");
    let cancelled =
        |effect: &Effect| matches!(effect, Effect::Send(r) if r.what == "cancel stop dev");
    assert!(scene.done().iter().any(cancelled));
}

#[test]
fn a_second_click_shows_the_details_and_the_wheel_turns_what_it_is_over() {
    let mut scene = Scene::usual((80, 20));
    scene.click("dev");
    assert!(scene.model.details.is_none());
    let screen = scene.screen();
    assert!(screen.contains("lines more: Enter"), "{screen}");
    scene.mouse(MouseEventKind::ScrollDown, 10, 15);
    assert_eq!(scene.model.vm().unwrap().name.as_str(), "dev");
    assert!(!scene.screen().contains(" name       dev"));
    scene.click("dev");
    assert!(scene.model.details.is_some());
    scene.size.1 = 12;
    let (name, id) = (" name       dev", " id         0000000000000001");
    let shown = |scene: &mut Scene| {
        let screen = scene.screen();
        (screen.contains(name), screen.contains(id))
    };
    assert_eq!(shown(&mut scene), (true, false));
    scene.press(KeyCode::End);
    assert_eq!(shown(&mut scene), (false, true));
    scene.press(KeyCode::Home).press(KeyCode::PageDown);
    assert_eq!(shown(&mut scene), (false, true));
    scene.press(KeyCode::PageUp);
    assert_eq!(shown(&mut scene), (true, false));
    scene.keys("q");
    assert!(scene.model.details.is_none() && scene.done().is_empty());
}

#[test]
fn failures_go_one_by_one_or_all_at_once_and_take_no_keys_of_who_types() {
    let mut scene = Scene::usual((80, 24));
    scene.keys("/de");
    for i in 0..40 {
        scene.take(Input::Failed(problem(&format!("start vm{i}"))));
    }
    scene.keys("v");
    assert_eq!(scene.model.cursor().filter.value(), "dev");
    assert!(!scene.screen().contains("did not work"));
    scene.press(KeyCode::Enter);
    assert!(scene.screen().contains("40 failures · failed: start vm0"));
    scene.press(KeyCode::Enter);
    assert!(scene.screen().contains("39 failures · failed: start vm1"));
    scene.keys("y");
    assert_eq!(scene.done(), [Effect::Copy("try again".to_owned())]);
    scene.click("dismiss all");
    assert!(scene.model.dialogs.is_empty());
}

#[test]
fn who_leaves_is_asked_where_ports_are_forwarded() {
    let mut scene = Scene::usual((80, 24));
    scene.keys("l");
    scene.done();
    scene.keys("q");
    assert_eq!(scene.done(), [Effect::CloseLog]);
    let dev = vm(1, "dev", VmState::Running).id;
    scene.model.forwards.insert((dev, 80), Some("127.0.0.1:4000".parse().unwrap()));
    scene.keys("q");
    assert!(scene.screen().contains("leave banger?") && scene.done().is_empty());
    scene.keys("y");
    assert_eq!(scene.done(), [Effect::Quit]);
    scene.model.forwards.clear();
    scene.keys("q");
    assert_eq!(scene.done(), [Effect::Quit]);
}

#[test]
fn without_images_one_is_led_to_a_build() {
    let mut scene = Scene::new((80, 24));
    scene.keys("n");
    assert!(scene.model.dialogs.is_empty());
    let mut empty = snapshot(Vec::new(), Vec::new());
    empty.images.clear();
    scene.take(Input::Loaded(Box::new(empty)));
    assert!(scene.screen().contains("b builds one of Debian"));
    assert!(foot(&mut scene).starts_with(" b build image"));
    scene.keys("n");
    assert!(scene.screen().contains("first an image"));
    scene.press(KeyCode::Enter);
    let built = |effect: &Effect| matches!(effect, Effect::Send(r) if r.what == "build debian");
    assert!(scene.done().iter().any(built));
}

#[test]
fn what_was_begun_is_told_and_a_new_vm_has_the_cursor() {
    let mut scene = Scene::usual((80, 24));
    scene.begun(1, OperationKind::VmCreate, "new", Some(9));
    assert!(foot(&mut scene).contains("create new …"));
    let new = vm(9, "new", VmState::Provisioning);
    scene.event(None, EventKind::VmChanged { vm: Box::new(new) });
    assert_eq!(scene.model.vm().unwrap().name.as_str(), "new");
    scene.press(KeyCode::Up);
    let outcome = Outcome::Succeeded { object: None };
    scene.event(Some(1), EventKind::Finished { outcome });
    let said = foot(&mut scene);
    assert!(said.contains("create new is done ("), "{said}");
    assert_ne!(scene.model.vm().unwrap().name.as_str(), "new");
}

#[test]
fn ports_are_asked_anew_and_chosen_by_their_number() {
    let mut scene = Scene::usual((100, 30));
    scene.press(KeyCode::Down);
    let dev = scene.model.vm().unwrap().id.clone();
    let asks = |scene: &mut Scene| {
        scene.tick(1.0);
        scene.done().contains(&Effect::Ports(vm(1, "dev", VmState::Running).id))
    };
    assert!(asks(&mut scene));
    scene.take(Input::Ports(dev.clone(), Ports::Known(vec![port(22)])));
    assert!(!asks(&mut scene));
    // Only another VM that runs is asked in between.
    scene.model.ports_of = None;
    assert!(asks(&mut scene));
    // What is known stays until the answer.
    assert!(scene.screen().contains("22"));
    scene.keys("o");
    scene.take(Input::Ports(dev.clone(), Ports::Known(vec![port(22), port(4096), port(8080)])));
    scene.done();
    scene.press(KeyCode::Down).press(KeyCode::Enter);
    assert_eq!(scene.done(), [Effect::Forward(dev.clone(), 8080, Then::Open)]);
    // A port that opens meanwhile does not change which is meant.
    let more = vec![port(22), port(80), port(4096), port(8080)];
    scene.take(Input::Ports(dev.clone(), Ports::Known(more)));
    scene.take(Input::Forwarded(dev.clone(), 8080, "127.0.0.1:4000".parse().unwrap(), Then::Open));
    assert_eq!(scene.done(), [Effect::Open("http://127.0.0.1:4000".to_owned())]);
    scene.keys("c").keys("x").keys("p");
    assert_eq!(
        scene.done(),
        [
            Effect::Copy("http://127.0.0.1:4000".to_owned()),
            Effect::EndForward(dev.clone(), 8080),
            Effect::Password(dev.clone())
        ]
    );
    // No browser reads SSH.
    for _ in 0..3 {
        scene.press(KeyCode::Up);
    }
    scene.press(KeyCode::Enter);
    assert_eq!(scene.done(), []);
    scene.keys("c");
    assert_eq!(scene.done(), [Effect::Forward(dev.clone(), 22, Then::Copy)]);
    scene.take(Input::Forwarded(dev, 22, "127.0.0.1:4001".parse().unwrap(), Then::Copy));
    assert_eq!(scene.done(), [Effect::Copy("127.0.0.1:4001".to_owned())]);
    // One that ends meanwhile has none.
    let gone = vm(1, "dev", VmState::Stopped(banger_core::vm::StopCause::GuestShutdown));
    scene.event(None, EventKind::VmChanged { vm: Box::new(gone) });
    assert!(scene.screen().contains("it does not run"));
}

#[test]
fn what_one_needs_of_a_line_is_copied() {
    let mut scene = Scene::usual((80, 24));
    scene.keys("y").keys("2y").keys("4");
    scene.take(Input::Doctor(Ok(report())));
    scene.keys("y");
    let copied = scene.done().into_iter().filter_map(|effect| match effect {
        Effect::Copy(text) => Some(text),
        _ => None,
    });
    let copied: Vec<_> = copied.collect();
    assert_eq!(copied[..2], ["banger vm ssh ci", "debian"]);
    assert!(copied[2].starts_with("sudo "), "{copied:?}");
    scene.take(Input::Password("s3cret".to_owned()));
    assert_eq!(scene.done(), [Effect::CopySecret("s3cret".to_owned())]);
    assert!(!scene.screen().contains("s3cret"));
}

#[test]
fn a_form_tells_what_this_host_or_the_image_cannot() {
    let mut scene = Scene::usual((100, 40));
    scene.keys("n");
    for _ in 0..5 {
        scene.press(KeyCode::Down);
    }
    scene.keys("u");
    assert!(!scene.screen().contains("QEMU's"));
    scene.press(KeyCode::Down).keys("f");
    let screen = scene.screen();
    // With sudo, root has a KVM that works.
    assert!(screen.contains("'user' is QEMU's") && !screen.contains("KVM does not"), "{screen}");
    scene.press(KeyCode::Up);
    let head = scene.model.dashboard.as_mut().unwrap();
    head.sudo = banger_core::doctor::Check::warning("sudo", "it asks for a password");
    scene.keys("n");
    let screen = scene.screen();
    assert!(screen.contains("sudo: it asks for a password"), "{screen}");
    assert!(screen.contains("KVM does not work here"), "{screen}");
    scene.done();
    scene.press(KeyCode::Enter);
    assert_eq!(scene.done(), []);
}

#[test]
fn a_vm_that_is_paused_for_its_overlay_gets_more() {
    let (used, limit) = (Size::mib(300), Size::mib(300));
    let mut paused = vm(1, "dev", VmState::Paused(PauseCause::OverlayFull { used, limit }));
    paused.spec.overlay = Some(limit);
    let mut scene = Scene::new((80, 24));
    scene.take(Input::Loaded(Box::new(snapshot(vec![paused], Vec::new()))));
    assert!(scene.screen().contains("z lets its overlay take more"));
    scene.keys("z").press(KeyCode::Enter);
    assert!(scene.done().is_empty());
    scene.keys("z").keys("1G").press(KeyCode::Enter);
    let body = scene.done().into_iter().find_map(|effect| match effect {
        Effect::Send(request) => request.body,
        _ => None,
    });
    assert_eq!(body, Some(serde_json::json!({ "overlay": 1_u64 << 30 })));
}

#[test]
fn control_c_ends_it_wherever_one_is() {
    let mut scene = Scene::usual((80, 24));
    scene.keys("l/x");
    let event = crossterm::event::KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    scene.done();
    scene.take(Input::Key(event));
    assert_eq!(scene.done(), [Effect::Quit]);
}
