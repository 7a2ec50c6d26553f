//! The daemon killed before and after everything that it writes down or does
//! to the host; then the one that puts it right, too.

use banger_core::policy::Request;
use banger_testkit::Life;
use bangerd::engine::Engine;

use crate::scene::{Scene, ask, build_image, create};

/// Does `work` after `before` on a fresh host, killed at each of its steps in
/// turn until it is survived. The daemons after it die too, each one step later.
fn killed_at_every_step(before: impl AsyncFn(&Engine), work: impl AsyncFn(&Engine)) {
    for last in 0.. {
        let scene = Scene::new();
        scene.live(&Life::default(), &before).unwrap();
        let survived = scene.live(&Life::until(last), &work).is_some();
        let mut lives = 0;
        while !scene.settle(&Life::until(lives)) {
            lives += 1;
        }
        scene.use_and_delete(&scene.check());
        if survived {
            println!("{last} steps");
            assert!(last > 10, "so few steps cannot be all");
            return;
        }
    }
}

async fn nothing(_: &Engine) {}

async fn running(engine: &Engine) {
    create(engine, true).await;
}

async fn stopped(engine: &Engine) {
    create(engine, false).await;
}

#[test]
fn create_is_survived() {
    killed_at_every_step(nothing, running);
}

#[test]
fn start_is_survived() {
    killed_at_every_step(stopped, async |engine| drop(ask(engine, "dev", Request::Start).await));
}

#[test]
fn stop_is_survived() {
    killed_at_every_step(running, async |engine| drop(ask(engine, "dev", Request::Stop).await));
}

#[test]
fn restart_is_survived() {
    killed_at_every_step(running, async |engine| drop(ask(engine, "dev", Request::Restart).await));
}

#[test]
fn kill_is_survived() {
    killed_at_every_step(running, async |engine| drop(ask(engine, "dev", Request::Kill).await));
}

#[test]
fn delete_is_survived() {
    killed_at_every_step(running, async |engine| drop(ask(engine, "dev", Request::Delete).await));
}

#[test]
fn image_build_is_survived() {
    killed_at_every_step(nothing, async |engine| drop(build_image(engine).await));
}
