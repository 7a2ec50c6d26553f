//! What is asked and told, and what becomes of it.

use banger_core::operation::OperationKind;
use crossterm::event::{KeyCode, MouseEventKind};

use super::scene::Scene;
use crate::tui::dialog::{Dialog, Problem, Request};
use crate::tui::update::{Effect, Input};

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
    scene.model.lists.images.clear();
    scene.keys("n").press(KeyCode::Down);
    let screen = scene.screen();
    assert!(screen.contains("there is none: build one first (tab Images, key b)"), "{screen}");
}

#[test]
fn a_failure_is_told_however_many_ended_before_it() {
    let mut scene = Scene::usual((100, 30));
    scene.begun(1, OperationKind::VmStart, "ci", Some(2));
    for bits in 2..300 {
        scene.begun(bits, OperationKind::VmStop, "dev", Some(1));
        let outcome = banger_core::operation::Outcome::Cancelled;
        scene.event(Some(bits), banger_core::operation::EventKind::Finished { outcome });
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
