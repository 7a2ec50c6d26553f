//! What is seen of operations while they go on, and of how they ended.

use banger_core::operation::{Event, EventKind, Failure, OperationKind, Outcome};
use banger_core::vm::{StopCause, VmState};
use crossterm::event::{KeyCode, MouseEventKind};

use super::scene::{NOW, Scene};
use super::screens::assert_screen;
use crate::tui::update::Input;

const SMALL: (u16, u16) = (80, 24);
const MIDDLE: (u16, u16) = (120, 36);

/// An image is built, by a program that says this many lines.
fn build(size: (u16, u16), lines: usize) -> Scene {
    let mut scene = Scene::usual(size);
    scene.begun(1, OperationKind::ImageBuild, "tools", None);
    for (stage, ms) in [("resolve", 812), ("download", 9400), ("verify", 310), ("unpack", 2100)] {
        scene.stage(1, stage, Some(ms));
    }
    scene.stage(1, "install", None);
    say(&mut scene, 0, lines);
    let stage = "install".to_owned();
    scene.event(Some(1), EventKind::Progress { stage, done: 3, total: Some(8) });
    scene.keys("3");
    scene
}

fn say(scene: &mut Scene, from: usize, lines: usize) {
    for i in from..from + lines {
        let line = format!("\x1b[32mSetting up\x1b[0m package-{i} (1.{i})");
        scene.event(Some(1), EventKind::Log { line });
    }
}

fn warn(scene: &mut Scene, message: &str) {
    scene.event(Some(1), EventKind::Warning { message: message.to_owned() });
}

fn fail(scene: &mut Scene) {
    let failure = Failure {
        message: "cannot install the packages\ncaused by: dpkg ended with exit status 1".to_owned(),
        remedy: Some("try another mirror with --mirror".to_owned()),
        console: String::new(),
        rollback: vec!["the folder of the build".to_owned()],
    };
    scene.event(Some(1), EventKind::Finished { outcome: Outcome::Failed { failure } });
    scene.press(KeyCode::Enter);
}

#[test]
fn what_programs_say_is_seen_while_it_goes_on_and_after_it_failed() {
    for size in [SMALL, MIDDLE] {
        let mut scene = build(size, 40);
        assert_screen("operation-under-way", &mut scene);
        fail(&mut scene);
        assert_screen("operation-failed", &mut scene);
        scene.press(KeyCode::Enter);
        assert_screen("operation-failed-details", &mut scene);
    }
}

#[test]
fn how_else_an_operation_ends() {
    let mut scene = build(SMALL, 2);
    scene.event(Some(1), EventKind::Finished { outcome: Outcome::Cancelled });
    assert_screen("operation-cancelled", &mut scene);
    let mut scene = build(SMALL, 2);
    warn(&mut scene, "the mirror is slow\nanother was taken");
    warn(&mut scene, "there is no opencode for this image");
    scene.event(Some(1), EventKind::StageDone { stage: "install".to_owned(), ms: 31_000 });
    let outcome = Outcome::Succeeded { object: None };
    scene.event(Some(1), EventKind::Finished { outcome });
    assert_screen("operation-warnings", &mut scene);
}

#[test]
fn the_end_of_the_output_is_followed_until_one_scrolls() {
    let mut scene = build(SMALL, 100);
    scene.press(KeyCode::Enter);
    let screen = scene.screen();
    assert!(screen.contains("package-99 ") && !screen.contains("resolve"), "{screen}");
    assert!(screen.contains("details · following"), "{screen}");
    say(&mut scene, 100, 1);
    assert!(scene.screen().contains("package-100 "));
    // Who has left the end stays there.
    scene.press(KeyCode::Up);
    say(&mut scene, 101, 5);
    let screen = scene.screen();
    assert!(screen.contains("package-99 ") && !screen.contains("package-101 "), "{screen}");
    assert!(screen.contains("standing still: G follows"), "{screen}");
    scene.press(KeyCode::PageUp);
    let screen = scene.screen();
    assert!(screen.contains("package-81 ") && !screen.contains("package-99 "), "{screen}");
    scene.press(KeyCode::Home);
    let screen = scene.screen();
    assert!(screen.contains("✓ resolve") && screen.contains("package-0 "), "{screen}");
    scene.mouse(MouseEventKind::ScrollDown, 10, 10).keys("G");
    say(&mut scene, 106, 1);
    assert!(scene.screen().contains("package-106 "));
    // The same after its end, where one begins with why it failed.
    fail(&mut scene);
    assert!(scene.screen().contains("package-106 "));
    scene.press(KeyCode::Esc).press(KeyCode::Enter);
    let screen = scene.screen();
    assert!(screen.contains("cannot install") && !screen.contains("package-106 "), "{screen}");
}

#[test]
fn a_long_output_has_an_end_and_its_beginning_is_counted() {
    let mut scene = build(MIDDLE, 700);
    scene.press(KeyCode::Enter).press(KeyCode::Home);
    let screen = scene.screen();
    assert!(screen.contains("output, after 200 lines that are not kept"), "{screen}");
    assert!(screen.contains("package-200 ") && !screen.contains("package-199 "), "{screen}");
}

#[test]
fn what_happened_on_another_day_does_not_look_like_today() {
    let mut scene = Scene::usual((100, 50));
    scene.keys("j");
    let vm = scene.model.vm().unwrap().id.clone();
    for (seq, seconds) in [(101, 2 * 86_400), (102, 3 * 3600), (103, 12)] {
        let cause = StopCause::Crashed { detail: format!("number {seq}") };
        let kind = EventKind::StateChanged { vm: vm.clone(), state: VmState::Stopped(cause) };
        let event = Event { seq, operation: None, at_ms: NOW - seconds * 1000, kind };
        scene.take(Input::Event(Box::new(event)));
    }
    let screen = scene.screen();
    let lines: Vec<_> = screen.lines().filter(|line| line.contains("ago")).collect();
    let shown = lines.iter().map(|line| line.trim_matches(['│', ' '])).collect::<Vec<_>>();
    insta::assert_snapshot!(shown.join("\n"), @"
    12 s ago    stopped (crashed: number 103)
    3 h ago     stopped (crashed: number 102)
    2 d ago     stopped (crashed: number 101)
    ");
}

#[test]
fn images_are_seen_while_they_are_made() {
    for size in [SMALL, MIDDLE] {
        let mut scene = build(size, 3);
        scene.begun(2, OperationKind::ImagePull, "app", None);
        scene.stage(2, "layers", None);
        scene.keys("2").press(KeyCode::Down);
        assert_screen("images-being-made", &mut scene);
        // The lines are where they are drawn.
        scene.click("debian ");
        assert_eq!(scene.model.image().unwrap().name.as_str(), "debian");
        scene.click("dev-tools");
        assert_eq!(scene.model.image().unwrap().name.as_str(), "dev-tools");
        // A click on what is being made is none on a line.
        scene.click("pull image");
        assert_eq!(scene.model.image().unwrap().name.as_str(), "dev-tools");
    }
}
