//! What is asked and told, and what becomes of it.

use banger_core::doctor::{Check, DoctorReport};
use banger_core::operation::{EventKind, OperationKind, Outcome};
use crossterm::event::{KeyCode, MouseEventKind};

use super::scene::{Scene, snapshot};
use crate::tui::dialog::{Dialog, Problem, Request};
use crate::tui::model::Ports;
use crate::tui::update::{Effect, Input, Then};

/// What is asked of the daemon, since the last time.
fn sent(scene: &mut Scene) -> Vec<Request> {
    let requests = scene.done().into_iter().filter_map(|effect| match effect {
        Effect::Send(request) => Some(request),
        _ => None,
    });
    requests.collect()
}

fn problem() -> Problem {
    Problem::new("create dev2", "the disk is full", Some("delete something".to_owned()))
}

#[test]
fn a_long_problem_scrolls_and_its_remedy_stays() {
    let mut scene = Scene::usual((60, 14));
    let message: String = (0..40).map(|i| format!("line {i}.\n")).collect();
    scene.take(Input::Failed(Problem::new("build", message, Some("look there".to_owned()))));
    let seen = |scene: &mut Scene, line: &str| {
        let screen = scene.screen();
        assert!(screen.contains("hint look there") && screen.contains("Enter dismiss"), "{screen}");
        assert!(screen.contains("↑ ↓ scroll") && screen.contains(line), "{screen}");
    };
    seen(&mut scene, "line 0.");
    scene.press(KeyCode::End);
    seen(&mut scene, "line 39.");
    scene.press(KeyCode::Home).mouse(MouseEventKind::ScrollDown, 30, 7);
    seen(&mut scene, "line 3.");
    assert!(!scene.screen().contains("line 2."));
}

#[test]
fn what_is_left_behind_is_released_once_that_is_confirmed() {
    let mut scene = Scene::usual((100, 30));
    scene.keys("4");
    scene.done();
    scene.take(Input::Doctor(Ok(super::scene::report()))).keys("x");
    assert!(scene.screen().contains("nothing is left behind"));
    let left = Check::warning("left behind", "tap bgr7: no VM has them")
        .remedy(banger_core::doctor::CLEAN_UP);
    let fine = Check::ok("ssh", "/usr/bin/ssh");
    scene.keys("r").take(Input::Doctor(Ok(DoctorReport { checks: vec![fine, left] })));
    scene.keys("r");
    let screen = scene.screen();
    assert!(screen.contains("doctor · nothing is missing, 1 warning"), "{screen}");
    assert!(screen.contains("banger doctor --fix (x does it)"), "{screen}");
    scene.keys("x");
    assert!(scene.screen().contains("tap bgr7: no VM has them"));
    scene.done();
    scene.keys("y");
    let [request] = &sent(&mut scene)[..] else { panic!() };
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/leftovers/release"));
    // Whether it is gone is seen at once.
    scene.take(Input::Doctor(Ok(super::scene::report())));
    scene.take(Input::Done("release what is left behind: done".to_owned()));
    assert_eq!(scene.done(), [Effect::Examine]);
}

#[test]
fn what_could_not_be_released_is_told() {
    let left = |what: &str, error: Option<&str>| banger_core::api::Leftover {
        what: what.to_owned(),
        error: error.map(str::to_owned),
    };
    let mut released = vec![left("tap bgr7", None), left("process 4711", Some("it is not ours"))];
    let problem = Problem::of_leftovers("release", &released).unwrap();
    assert_eq!(problem.message, "the process 4711: it is not ours");
    released.pop();
    assert_eq!(Problem::of_leftovers("release", &released), None);
}

#[test]
fn a_form_that_is_refused_comes_back() {
    let mut scene = Scene::usual((100, 40));
    scene.keys("n").keys("dev2").press(KeyCode::Enter);
    let form = sent(&mut scene).remove(0).form.unwrap();
    scene.take(Input::Refused(problem(), form));
    assert!(scene.screen().contains("the disk is full"));
    scene.press(KeyCode::Enter);
    assert!(scene.screen().contains("▸ name        dev2"));
    scene.press(KeyCode::Enter);
    assert_eq!(sent(&mut scene).len(), 1);
}

#[test]
fn what_fails_meanwhile_waits_for_what_is_being_filled_in() {
    let mut scene = Scene::usual((100, 40));
    scene.keys("n").keys("my");
    scene.take(Input::Failed(problem()));
    scene.keys("box");
    let screen = scene.screen();
    assert!(screen.contains("▸ name        mybox"), "{screen}");
    assert!(screen.contains("something failed: it is shown when this is closed"), "{screen}");
    scene.press(KeyCode::Enter);
    assert_eq!(sent(&mut scene).len(), 1);
    let screen = scene.screen();
    assert!(screen.contains("the disk is full") && !screen.contains("something failed"));
}

#[test]
fn what_is_wrong_with_a_field_is_read_whole() {
    let mut scene = Scene::usual((60, 30));
    scene.keys("z").press(KeyCode::Tab).press(KeyCode::Tab).keys("1G");
    let screen = scene.screen();
    assert!(screen.contains("it has 8 GiB already"), "{screen}");
    scene.press(KeyCode::Tab);
    let screen = scene.screen();
    assert!(screen.contains("what it may take of the host's disk; empty: all"), "{screen}");
}

#[test]
fn a_failure_is_told_however_many_ended_before_it() {
    let mut scene = Scene::usual((100, 30));
    scene.begun(1, OperationKind::VmStart, "ci", Some(2));
    for bits in 2..300 {
        scene.begun(bits, OperationKind::VmStop, "dev", Some(1));
        scene.event(Some(bits), EventKind::Finished { outcome: Outcome::Cancelled });
    }
    scene.failed(1, "no", "no");
    assert!(
        matches!(&scene.model.dialogs[..], [Dialog::Problem(told, _)] if told.title == "start ci")
    );
}

#[test]
fn a_click_on_a_tab_is_as_its_key() {
    let mut scene = Scene::usual((100, 30));
    scene.keys("l");
    scene.done();
    scene.click("Doctor");
    assert_eq!(scene.done(), [Effect::CloseLog, Effect::Examine]);
}

#[test]
fn a_form_that_changes_nothing_asks_for_nothing() {
    let mut scene = Scene::usual((100, 30));
    scene.keys("z").press(KeyCode::Enter);
    assert!(scene.screen().contains("nothing was changed: ci stays as it is"));
    scene.keys("m").press(KeyCode::Enter);
    assert!(scene.model.dialogs.is_empty());
    // Whoever is gone is not resized.
    scene.keys("z").press(KeyCode::Backspace).keys("4");
    let vm = scene.model.vm().unwrap().id.clone();
    scene.event(None, EventKind::VmDeleted { vm });
    scene.press(KeyCode::Enter);
    assert!(scene.screen().contains("resize ci: the VM is gone"));
    assert!(sent(&mut scene).is_empty() && scene.model.dialogs.is_empty());
}

#[test]
fn entering_a_vm_can_be_cancelled() {
    let mut scene = Scene::usual((100, 30));
    scene.press(KeyCode::Down).keys("e");
    let vm = scene.model.vm().unwrap().id.clone();
    let entrance = || Input::Entrance(vm.clone(), Ok(vec!["dev".into()]));
    // What is typed ahead is for the VM.
    scene.done();
    scene.keys("q");
    assert!(scene.screen().contains("entering dev"));
    scene.press(KeyCode::Esc).take(entrance());
    assert_eq!(scene.done(), []);
    scene.keys("e").done();
    scene.take(entrance());
    assert_eq!(scene.done(), [Effect::Enter("dev".to_owned(), vec!["dev".into()])]);
}

#[test]
fn a_port_is_forwarded_once_and_no_longer_than_there_is_its_vm() {
    let mut scene = Scene::usual((100, 30));
    scene.press(KeyCode::Down).keys("o");
    let vm = scene.model.vm().unwrap().id.clone();
    let address = "127.0.0.1".to_owned();
    let port = banger_core::agent::Port { port: 4096, address, process: None };
    scene.take(Input::Ports(vm.clone(), Ports::Known(vec![port])));
    scene.done();
    scene.keys("oo");
    assert_eq!(scene.done(), [Effect::Forward(vm.clone(), 4096, Then::Open)]);
    scene.take(Input::NotForwarded(vm.clone(), 4096, problem()));
    scene.press(KeyCode::Enter).keys("c");
    assert_eq!(scene.done(), [Effect::Forward(vm.clone(), 4096, Then::Copy)]);
    scene.event(None, EventKind::VmDeleted { vm: vm.clone() });
    assert_eq!(scene.done(), [Effect::EndForward(vm, 4096)]);
    assert!(scene.model.forwards.is_empty());
}

#[test]
fn images_are_asked_for_one_time_after_another_and_not_for_old_events() {
    let mut scene = Scene::usual((100, 30));
    scene.done();
    let changed = |scene: &mut Scene| {
        let image = scene.model.lists.images.values().next().unwrap().clone();
        scene.event(None, EventKind::ImageChanged { image: Box::new(image) });
        scene.done()
    };
    assert_eq!(changed(&mut scene), [Effect::Images]);
    assert_eq!(changed(&mut scene), []);
    assert_eq!(changed(&mut scene), []);
    scene.take(Input::Images(Ok(Vec::new())));
    assert_eq!(scene.done(), [Effect::Images]);
    scene.take(Input::Images(Ok(Vec::new())));
    assert_eq!(scene.done(), []);
    // A daemon that goes does not answer; nobody is told of a question that nobody put.
    assert_eq!(changed(&mut scene), [Effect::Images]);
    scene.take(Input::Images(Err(Problem::new("list images", "it is gone", None))));
    assert!(scene.done().is_empty() && scene.model.dialogs.is_empty());
    assert_eq!(changed(&mut scene), [Effect::Images]);
    scene.take(Input::Images(Ok(Vec::new())));
    // Listed after the next events, which say nothing new.
    let mut later = snapshot(Vec::new(), Vec::new());
    later.dashboard.daemon.last_event = 120;
    scene.take(Input::Loaded(Box::new(later)));
    assert_eq!(changed(&mut scene), []);
}

#[test]
fn the_head_shows_what_the_doctor_found_last() {
    let mut scene = Scene::usual((100, 30));
    assert!(scene.screen().contains("sudo ✓ KVM ✗"));
    let checks = vec![Check::ok("KVM", "works"), Check::warning("sudo", "it asks")];
    scene.take(Input::Doctor(Ok(DoctorReport { checks })));
    assert!(scene.screen().contains("sudo ✗ KVM ✓"));
}

#[test]
fn what_is_not_seen_is_not_done() {
    let mut scene = Scene::usual((30, 8));
    scene.draw(true);
    scene.keys("Ky");
    assert!(sent(&mut scene).is_empty() && scene.model.dialogs.is_empty());
    scene.keys("q");
    assert_eq!(scene.done(), [Effect::Quit]);
}
