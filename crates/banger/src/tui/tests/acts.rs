//! What keys and the mouse do.

use banger_core::operation::{EventKind, OperationKind, Outcome};
use banger_core::vm::{StopCause, VmState};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseEventKind};
use ratatui::style::Modifier;

use super::scene::{Scene, snapshot, vm};
use crate::tui::dialog::Dialog;
use crate::tui::model::{Link, Ports};
use crate::tui::update::{Effect, Input, Then};

/// What is asked of the daemon: `POST /v1/vms/… {…}`.
fn asked(scene: &mut Scene) -> Vec<String> {
    let requests = scene.done().into_iter().filter_map(|effect| match effect {
        Effect::Send(request) => {
            let body = request.body.map(|body| format!(" {body}")).unwrap_or_default();
            Some(format!("{}: {} {}{body}", request.what, request.method, request.path))
        }
        _ => None,
    });
    requests.collect()
}

#[test]
fn a_vm_is_made_by_filling_in_a_form() {
    let mut scene = Scene::usual((100, 40));
    scene.keys("n").keys("dev");
    assert!(scene.screen().contains("'dev' is taken"));
    // It is not sent while something is wrong.
    scene.press(KeyCode::Enter);
    assert_eq!(asked(&mut scene), Vec::<String>::new());
    scene.keys("2").press(KeyCode::Tab).press(KeyCode::Right).press(KeyCode::Down);
    scene.press(KeyCode::Backspace).keys("99");
    assert!(scene.screen().contains("99 vcpus is not possible"));
    scene.press(KeyCode::Backspace).press(KeyCode::Down);
    scene.press(KeyCode::Backspace).press(KeyCode::Backspace);
    scene.keys("512M").press(KeyCode::Enter);
    insta::assert_snapshot!(asked(&mut scene).join("\n"), @r#"create dev2: POST /v1/vms {"disk":8589934592,"image":"dev-tools","memory":536870912,"name":"dev2","start":"ready","vcpus":9,"vmm":"qemu"}"#);
    assert!(scene.model.dialogs.is_empty());
}

#[test]
fn acts_are_for_the_line_or_for_all_that_are_marked() {
    let mut scene = Scene::usual((100, 30));
    // ci, dev, scratch: by name.
    scene.keys("s").keys("j").keys("Sx").keys("nSy").keys("ry");
    insta::assert_snapshot!(asked(&mut scene).join("\n"), @r#"
    start ci: POST /v1/vms/0000000000000002/start {"wait":"ready"}
    stop dev: POST /v1/vms/0000000000000001/stop
    restart dev: POST /v1/vms/0000000000000001/restart {"wait":"ready"}
    "#);
    scene.keys("a").keys("s");
    let screen = scene.screen();
    assert!(screen.contains("start 2 VMs?") && screen.contains("not 1 more"), "{screen}");
    assert!(screen.contains("6 vcpus would run on 4 CPUs"), "{screen}");
    assert_eq!(asked(&mut scene), Vec::<String>::new());
    scene.keys("y");
    insta::assert_snapshot!(asked(&mut scene).join("\n"), @r#"
    start ci: POST /v1/vms/0000000000000002/start {"wait":"ready"}
    start scratch: POST /v1/vms/0000000000000003/start {"wait":"ready"}
    "#);
    scene.keys("a").keys("D");
    assert!(scene.screen().contains("type delete 3 to go on"));
    scene.keys("delete 2").press(KeyCode::Enter);
    assert_eq!(asked(&mut scene), Vec::<String>::new());
    scene.press(KeyCode::Backspace).keys("3").press(KeyCode::Enter);
    assert_eq!(asked(&mut scene).len(), 3);
    assert!(scene.model.marked.is_empty());
}

#[test]
fn a_delete_takes_the_name_to_be_typed_and_a_kill_a_yes() {
    let mut scene = Scene::usual((100, 30));
    scene.press(KeyCode::Down).keys("D").keys("de").press(KeyCode::Enter);
    assert_eq!(asked(&mut scene), Vec::<String>::new());
    scene.keys("v").press(KeyCode::Enter);
    scene.keys("K").keys("x").keys("n").keys("K").keys("y");
    insta::assert_snapshot!(asked(&mut scene).join("\n"), @"
    delete dev: DELETE /v1/vms/0000000000000001
    kill dev: POST /v1/vms/0000000000000001/kill
    ");
}

#[test]
fn names_and_sizes_change_and_what_runs_is_not_resized() {
    let mut scene = Scene::usual((100, 30));
    // Of one that runs, the overlay is.
    scene.press(KeyCode::Down).keys("z");
    assert!(scene.screen().contains("the rest is resized when it is stopped"));
    scene.keys("4M");
    assert!(scene.screen().contains("an overlay of 4 MiB is not possible"));
    scene.press(KeyCode::Backspace).keys("00M").press(KeyCode::Enter);
    // What is typed first takes the place of what was there; what is not touched is not sent.
    scene.press(KeyCode::Up).keys("z");
    scene.press(KeyCode::Tab).keys("4G").press(KeyCode::Tab).keys("4G");
    assert!(scene.screen().contains("it has 8 GiB already"));
    scene.press(KeyCode::Backspace).press(KeyCode::Backspace).keys("16G").press(KeyCode::Enter);
    scene.keys("m").keys("2").press(KeyCode::Enter).keys("P").keys("tools").press(KeyCode::Enter);
    insta::assert_snapshot!(asked(&mut scene).join("\n"), @r#"
    overlay of dev (the rest is resized when it is stopped): PATCH /v1/vms/0000000000000001 {"overlay":419430400}
    resize ci: PATCH /v1/vms/0000000000000002 {"disk":17179869184,"memory":4294967296}
    rename ci: PATCH /v1/vms/0000000000000002 {"name":"ci2"}
    image of the root of ci: POST /v1/images {"vm":{"name":"tools","vm":"0000000000000002"}}
    "#);
}

#[test]
fn images_are_built_pulled_promoted_and_deleted() {
    let mut scene = Scene::usual((100, 30));
    scene.keys("2").keys("b").press(KeyCode::Right).press(KeyCode::Enter);
    scene.keys("p").keys("registry.example/team/app:1").press(KeyCode::Enter);
    scene.keys("D");
    assert!(scene.screen().contains("it is used by ci, dev, scratch"));
    scene
        .press(KeyCode::Enter)
        .press(KeyCode::Down)
        .keys("D")
        .keys("dev-tools")
        .press(KeyCode::Enter);
    scene.keys("P");
    assert!(scene.screen().contains("in banger's store already"));
    scene.keys("n");
    assert!(scene.screen().contains("◂ dev-tools ▸"));
    insta::assert_snapshot!(asked(&mut scene).join("\n"), @r#"
    build alpine: POST /v1/images {"alpine":{"keys":[],"name":"alpine","opencode":true,"packages":[],"size":4294967296}}
    pull registry.example/team/app:1: POST /v1/images {"registry":{"name":"app","reference":"registry.example/team/app:1"}}
    delete the image dev-tools: DELETE /v1/images/00000000000000a2
    "#);
}

#[test]
fn an_operation_is_cancelled_and_its_failure_stays_until_it_is_dismissed() {
    let mut scene = Scene::usual((100, 30));
    scene.begun(1, OperationKind::VmStart, "ci", Some(2));
    scene.keys("3").keys("c").keys("y");
    insta::assert_snapshot!(asked(&mut scene).join("\n"), @"cancel start ci: DELETE /v1/operations/0000000000000001");
    scene.failed(1, "the agent did not answer", "banger vm logs ci");
    scene.tick(1.0);
    scene.keys("jk1n");
    let screen = scene.screen();
    assert!(
        screen.contains("failed: start ci") && screen.contains("hint banger vm logs ci"),
        "{screen}"
    );
    scene.press(KeyCode::Enter);
    assert!(!scene.screen().contains("failed: start ci"));
    // Another's failure is in the list, and no panel.
    let what = scene.model.lists.operations.values().next().unwrap().operation.clone();
    let what = banger_core::operation::Operation {
        id: banger_core::id::OperationId::from_bits(9),
        outcome: None,
        ..what
    };
    scene.event(Some(9), EventKind::Begun { what: Box::new(what) });
    scene.failed(9, "no", "no");
    assert!(scene.model.dialogs.is_empty());
}

#[test]
fn ssh_needs_a_vm_that_runs() {
    let mut scene = Scene::usual((100, 30));
    scene.keys("e");
    assert!(scene.screen().contains("start it first"));
    scene.done();
    scene.press(KeyCode::Esc).press(KeyCode::Down).keys("e");
    let effects = scene.done();
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Ssh(_))), "{effects:?}");
}

#[test]
fn ports_are_opened_copied_and_forwarded() {
    let mut scene = Scene::usual((100, 30));
    scene.press(KeyCode::Down).keys("o");
    let id = scene.model.vm().unwrap().id.clone();
    let port = |port, address: &str, process: &str| banger_core::agent::Port {
        port,
        address: address.to_owned(),
        process: Some(process.to_owned()),
    };
    let ports = vec![
        port(22, "0.0.0.0", "sshd"),
        port(22, "::", "sshd"),
        port(4096, "127.0.0.1", "opencode"),
    ];
    scene.take(Input::Ports(id.clone(), Ports::Known(ports)));
    scene.done();
    scene.press(KeyCode::Down).press(KeyCode::Enter);
    assert!(matches!(scene.done()[..], [Effect::Forward(_, 4096, _)]));
    scene.take(Input::Forwarded(id, 4096, ([127, 0, 0, 1], 4711).into(), Then::Copy));
    assert_eq!(scene.done(), [Effect::Copy("http://127.0.0.1:4711".to_owned())]);
    assert!(scene.screen().contains("4096  opencode         http://127.0.0.1:4711"));
}

#[test]
fn the_filter_and_the_order_decide_what_is_shown() {
    let mut scene = Scene::usual((100, 30));
    let names = |scene: &Scene| {
        let shown =
            scene.model.shown_vms().iter().map(|vm| vm.name.to_string()).collect::<Vec<_>>();
        shown.join(" ")
    };
    assert_eq!(names(&scene), "ci dev scratch");
    scene.keys("f");
    assert_eq!(names(&scene), "dev ci scratch");
    scene.keys("F");
    assert_eq!(names(&scene), "scratch ci dev");
    scene.keys("/").keys("STOPPED sc").press(KeyCode::Enter);
    assert_eq!(names(&scene), "scratch");
    assert!(scene.screen().contains("VMs 1 of 3 · /STOPPED sc"));
    scene.press(KeyCode::Esc);
    assert_eq!(names(&scene), "scratch ci dev");
    scene.click("NAME");
    assert_eq!(names(&scene), "ci dev scratch");
}

#[test]
fn a_list_that_changes_leaves_the_person_where_they_were() {
    let mut scene = Scene::usual((100, 30));
    scene.press(KeyCode::Down);
    assert_eq!(scene.model.vm().unwrap().name.as_str(), "dev");
    scene.event(None, EventKind::VmChanged { vm: Box::new(vm(4, "a", VmState::Defined)) });
    scene.event(None, EventKind::VmDeleted { vm: vm(2, "ci", VmState::Defined).id });
    assert_eq!(scene.model.vm().unwrap().name.as_str(), "dev");
    scene.event(None, EventKind::VmDeleted { vm: vm(1, "dev", VmState::Defined).id });
    assert_eq!(scene.model.vm().unwrap().name.as_str(), "scratch");
}

#[test]
fn the_mouse_selects_turns_and_scrolls() {
    let mut scene = Scene::usual((100, 30));
    scene.click("scratch");
    assert_eq!(scene.model.vm().unwrap().name.as_str(), "scratch");
    scene.mouse(MouseEventKind::ScrollUp, 5, 5);
    assert_eq!(scene.model.vm().unwrap().name.as_str(), "ci");
    scene.click("Images");
    assert!(scene.screen().contains("dev-tools"));
    scene.click("VMs").keys("n").click("memory");
    assert!(matches!(scene.model.dialogs.last(), Some(Dialog::Form(form)) if form.focus == 3));
}

#[test]
fn the_palette_does_what_it_names() {
    let mut scene = Scene::usual((100, 30));
    scene.keys(":").keys("imag");
    assert!(scene.screen().contains("image of VM"));
    scene.press(KeyCode::Enter);
    assert!(scene.screen().contains("Images 2"));
    scene.keys(":").keys("new v").press(KeyCode::Enter);
    assert!(matches!(scene.model.dialogs.last(), Some(Dialog::Form(_))));
}

#[test]
fn a_log_is_followed_and_searched() {
    let mut scene = Scene::usual((80, 24));
    scene.keys("l");
    let id = scene.model.vm().unwrap().id.clone();
    assert!(scene.done().contains(&Effect::OpenLog(id.clone(), 1)));
    let text: String = (0..100).map(|i| format!("line {i} \x1b[32mok\x1b[0m\r\n")).collect();
    scene.take(Input::Log(1, text.clone().into_bytes()));
    assert!(scene.screen().contains("line 99 ok"));
    scene.keys("/").keys("line 42").press(KeyCode::Enter);
    let screen = scene.screen();
    assert!(screen.contains("line 42 ok") && screen.contains("standing still"), "{screen}");
    scene.take(Input::Log(1, b"more\n".to_vec()));
    assert!(!scene.screen().contains("more"));
    scene.keys("f");
    assert!(scene.screen().contains("more"));
    // A connection that breaks and comes back changes nothing of that.
    scene.keys("/").keys("line 4").press(KeyCode::Enter).keys("nn");
    let before = scene.screen();
    assert!(before.contains("/line 4 9/11") && before.contains("│line 47 ok"), "{before}");
    scene.take(Input::LogEnded(1));
    let vms = scene.model.lists.vms.values().cloned().collect();
    scene.done();
    scene.take(Input::Loaded(Box::new(snapshot(vms, vec![]))));
    assert!(scene.done().contains(&Effect::OpenLog(id, 2)));
    scene.model.notice = None;
    assert_eq!(scene.screen(), before);
    // What the first stream left behind is not shown again.
    scene.take(Input::Log(1, b"left behind\n".to_vec()));
    scene.take(Input::Log(2, text.as_bytes()[text.find("line 50").unwrap()..].to_vec()));
    scene.take(Input::Log(2, b"more\nlast\n".to_vec()));
    assert_eq!(scene.screen(), before.replace("101 lines", "102 lines"));
    scene.keys("f");
    let screen = scene.screen();
    assert!(screen.contains("more") && screen.contains("last"), "{screen}");
    assert!(!screen.contains("left behind"), "{screen}");
    // Esc ends the search first.
    scene.press(KeyCode::Esc);
    assert!(scene.model.log.as_ref().is_some_and(|log| log.needle.is_empty()));
    scene.press(KeyCode::Esc);
    assert!(scene.done().contains(&Effect::CloseLog) && scene.model.log.is_none());
}

#[test]
fn ctrl_z_stops_it_wherever_one_is() {
    let mut scene = Scene::usual((80, 24));
    let stop = || Input::Key(KeyEvent::new(KeyCode::Char('z'), KeyModifiers::CONTROL));
    assert_eq!(scene.take(stop()).done(), [Effect::Suspend]);
    // Not into what is being filled in.
    scene.keys("n");
    assert_eq!(scene.take(stop()).done(), [Effect::Suspend]);
    assert!(matches!(scene.model.dialogs.last(), Some(Dialog::Form(_))));
}

#[test]
fn a_search_goes_up_and_says_when_it_goes_round() {
    let mut scene = Scene::usual((80, 24));
    scene.keys("ln");
    assert!(scene.screen().contains("search for something first, with /"));
    let text: String = (0..100).map(|i| format!("line {i}\n")).collect();
    scene.take(Input::Log(1, text.into_bytes()));
    scene.keys("/").keys("7").press(KeyCode::Enter);
    let screen = scene.screen();
    // Not at the very end: one sees what comes after it.
    assert!(screen.contains("/7 20/20") && screen.contains("│line 99"), "{screen}");
    // The one that one is at looks otherwise than the others.
    let looks = |scene: &mut Scene, text: &str, column: usize| {
        let row = scene.screen().lines().position(|line| line.contains(text)).unwrap();
        scene.draw(false).backend().buffer()[(column as u16, row as u16)].modifier
    };
    let others = Modifier::REVERSED;
    assert_eq!(looks(&mut scene, "line 87", 7), others);
    assert_eq!(looks(&mut scene, "line 97", 6), Modifier::empty());
    let here = looks(&mut scene, "line 97", 7);
    assert!(here.contains(others) && here != others);
    scene.keys("N");
    let screen = scene.screen();
    assert!(screen.contains("/7 1/20") && screen.contains("went round"), "{screen}");
    assert!(screen.contains("│line 0 ") && screen.contains("│line 18"), "{screen}");
    scene.keys("/").keys("none").press(KeyCode::Enter);
    assert!(scene.screen().contains("'none' is nowhere in it"));
}

#[test]
fn a_daemon_that_goes_is_told_and_one_that_comes_back_too() {
    let mut scene = Scene::usual((100, 30));
    scene.begun(1, OperationKind::VmStart, "ci", Some(2));
    scene.stage(1, "boot", Some(100));
    scene.take(Input::Away("cannot connect".to_owned()));
    assert!(scene.screen().contains("the daemon is away · R starts it"));
    assert!(scene.screen().contains("scratch"));
    scene.done();
    scene.keys("R");
    assert_eq!(scene.done(), [Effect::StartDaemon]);
    let operation = scene.model.lists.operations.values().next().unwrap().operation.clone();
    let vms = scene.model.lists.vms.values().cloned().collect();
    let mut again = snapshot(vms, vec![operation]);
    again.dashboard.daemon.last_event = 150;
    scene.take(Input::Loaded(Box::new(again)));
    assert_eq!(scene.model.link, Link::Up);
    assert!(scene.screen().contains("the daemon is back"));
    // What was seen of the operation is still there, and its end is told.
    scene.event(Some(1), EventKind::Finished { outcome: Outcome::Cancelled });
    scene.keys("3");
    let screen = scene.screen();
    assert!(screen.contains("✓ boot") && screen.contains("was cancelled"), "{screen}");
}

#[test]
fn a_state_that_changes_is_seen_at_once() {
    let mut scene = Scene::usual((100, 30));
    let state = VmState::Stopped(StopCause::GuestShutdown);
    let gone = vm(1, "dev", state.clone());
    scene.event(None, EventKind::VmChanged { vm: Box::new(gone.clone()) });
    scene.event(None, EventKind::StateChanged { vm: gone.id, state });
    scene.press(KeyCode::Down);
    assert!(scene.screen().contains("stopped (the guest shut down)"));
}

/// A guest gives its programs and its console any text it likes.
#[test]
fn what_a_guest_says_is_obeyed_nowhere() {
    let evil = "a\x1b[2J\x07\x1b]52;c;eA==\x07\u{9b}31m\x1b[32m\u{202e}z";
    let mut scene = Scene::usual((100, 60));
    scene.press(KeyCode::Down);
    let id = scene.model.vm().unwrap().id.clone();
    let port = banger_core::agent::Port {
        port: 80,
        address: "0.0.0.0".to_owned(),
        process: Some(evil.to_owned()),
    };
    let ports = || Input::Ports(id.clone(), Ports::Known(vec![port.clone()]));
    scene.take(ports());
    // Characters that control would not be drawn anyway: what is around them must be gone, too.
    let safe = |scene: &mut Scene| {
        let screen = scene.screen();
        let odd = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        let garbage = ["[2J", "52;c", "eA==", "[32m"].iter().any(|text| screen.contains(text));
        assert!(screen.contains("a31mz") && !garbage && !screen.contains(odd), "{screen}");
    };
    safe(&mut scene);
    scene.keys("o").take(ports());
    safe(&mut scene);
    scene.press(KeyCode::Esc).keys("l");
    scene.take(Input::Log(1, evil.as_bytes().to_vec()));
    safe(&mut scene);
    scene.press(KeyCode::Esc);
    scene.begun(1, OperationKind::VmStart, evil, Some(1));
    scene.event(Some(1), EventKind::Log { line: evil.to_owned() });
    scene.event(Some(1), EventKind::Warning { message: evil.to_owned() });
    safe(&mut scene);
    scene.keys("3");
    safe(&mut scene);
    scene.failed(1, evil, evil);
    safe(&mut scene);
    scene.press(KeyCode::Enter).press(KeyCode::Enter);
    safe(&mut scene);
    scene.press(KeyCode::Enter).keys("1");
    safe(&mut scene);
    // The same in a list that is asked for.
    let detail = evil.to_owned();
    let crashed = vm(9, "aa", VmState::Stopped(StopCause::Crashed { detail }));
    let mut again = snapshot(vec![crashed], vec![]);
    again.dashboard.daemon.last_event = 999;
    scene.take(Input::Loaded(Box::new(again)));
    scene.press(KeyCode::Home);
    safe(&mut scene);
}
