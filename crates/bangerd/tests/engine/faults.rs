//! Calls to the host that fail: each in turn, then all that follow, so that
//! what was made cannot be undone either.

use std::cell::Cell;

use banger_core::operation::{Failure, Outcome};
use banger_core::vm::{Vmm, WaitFor};
use banger_testkit::{Fault, Life};
use bangerd::engine::Engine;
use bangerd::engine::task::Wish;

use crate::scene::{Scene, ask, build_image, build_provisioned, change_home, create};

/// Does `work` after `before` on a fresh host with each fault of `kind` in turn,
/// until there is no call left to fail. `judge` is told how it ended.
fn failed_at_every_call(
    kind: impl Fn(usize) -> Fault,
    before: impl AsyncFn(&Engine),
    work: impl AsyncFn(&Engine) -> Outcome,
    judge: impl Fn(&Outcome),
) {
    failed_where(Scene::new, kind, before, work, judge);
}

/// The same with Firecracker on snapshots.
fn failed_with_firecracker(
    kind: impl Fn(usize) -> Fault,
    before: impl AsyncFn(&Engine),
    work: impl AsyncFn(&Engine) -> Outcome,
    judge: impl Fn(&Outcome),
) {
    failed_where(|| Scene::with(Vmm::Firecracker), kind, before, work, judge);
}

fn failed_where(
    scene: impl Fn() -> Scene,
    kind: impl Fn(usize) -> Fault,
    before: impl AsyncFn(&Engine),
    work: impl AsyncFn(&Engine) -> Outcome,
    judge: impl Fn(&Outcome),
) {
    for call in 0.. {
        let scene = scene();
        scene.live(&Life::default(), &before).unwrap();
        scene.faults.set(Some(kind(call)));
        let outcome = scene.live(&Life::default(), async |engine| {
            let outcome = work(engine).await;
            let struck = scene.faults.struck();
            scene.faults.set(None);
            // The next request of the same daemon finds a way out; of every other host, it
            // is the next daemon that does.
            if struck && call % 2 == 0 && engine.vm("dev").await.is_ok() {
                let deleted = ask(engine, "dev", Wish::Delete).await;
                assert!(matches!(deleted, Outcome::Succeeded { .. }), "{deleted:?}");
            }
            struck.then_some(outcome)
        });
        assert!(scene.settle(&Life::default()));
        scene.use_and_delete(&scene.check());
        let Some(outcome) = outcome.unwrap() else {
            println!("{call} calls");
            assert!(call > 0, "nothing was called");
            return;
        };
        judge(&outcome);
    }
}

/// The fault is told as the cause, or as what could not be released.
fn tells_the_fault(outcome: &Outcome) {
    let Outcome::Failed { failure } = outcome else { panic!("{outcome:?}") };
    let Failure { message, rollback, .. } = failure;
    assert!(message.contains("injected into call"), "{failure:?}");
    assert_eq!(*rollback, [""; 0], "a fault that goes away is no obstacle to the rollback");
}

/// Both the cause and what could not be undone are told.
fn tells_both(outcome: &Outcome) {
    let Outcome::Failed { failure } = outcome else { panic!("{outcome:?}") };
    assert!(failure.message.contains("injected into call"), "{failure:?}");
    assert!(!failure.rollback.is_empty(), "{failure:?}");
    assert!(failure.rollback.iter().all(|line| line.contains("injected into call")), "{failure:?}");
}

async fn nothing(_: &Engine) {}

async fn running(engine: &Engine) {
    create(engine, true).await;
}

async fn stopped(engine: &Engine) {
    create(engine, false).await;
}

async fn start(engine: &Engine) -> Outcome {
    ask(engine, "dev", Wish::Start(WaitFor::Agent)).await
}

async fn stop(engine: &Engine) -> Outcome {
    ask(engine, "dev", Wish::Stop).await
}

async fn restart(engine: &Engine) -> Outcome {
    ask(engine, "dev", Wish::Restart(WaitFor::Agent)).await
}

async fn delete(engine: &Engine) -> Outcome {
    ask(engine, "dev", Wish::Delete).await
}

#[test]
fn each_call_of_a_create_may_fail() {
    failed_at_every_call(Fault::Before, nothing, async |e| create(e, true).await, tells_the_fault);
    failed_at_every_call(Fault::After, nothing, async |e| create(e, true).await, tells_the_fault);
    failed_at_every_call(Fault::From, nothing, async |e| create(e, true).await, tells_both);
}

#[test]
fn each_call_of_a_create_with_a_new_seed_may_fail() {
    let create = async |engine: &Engine| create(engine, false).await;
    failed_at_every_call(Fault::Before, change_home, create, tells_the_fault);
    failed_at_every_call(Fault::After, change_home, create, tells_the_fault);
}

#[test]
fn each_call_of_a_start_may_fail() {
    failed_at_every_call(Fault::Before, stopped, start, tells_the_fault);
    failed_at_every_call(Fault::After, stopped, start, tells_the_fault);
    failed_at_every_call(Fault::From, stopped, start, tells_both);
}

#[test]
fn each_call_of_a_stop_may_fail() {
    failed_at_every_call(Fault::Before, running, stop, tells_the_fault);
    failed_at_every_call(Fault::After, running, stop, tells_the_fault);
    failed_at_every_call(Fault::From, running, stop, tells_the_fault);
}

#[test]
fn each_call_of_a_restart_may_fail() {
    failed_at_every_call(Fault::Before, running, restart, tells_the_fault);
    failed_at_every_call(Fault::After, running, restart, tells_the_fault);
}

#[test]
fn each_call_of_a_delete_may_fail() {
    failed_at_every_call(Fault::Before, running, delete, tells_the_fault);
    failed_at_every_call(Fault::After, running, delete, tells_the_fault);
    failed_at_every_call(Fault::From, running, delete, tells_the_fault);
}

#[test]
fn each_call_of_a_create_with_firecracker_may_fail() {
    let create = async |engine: &Engine| create(engine, true).await;
    failed_with_firecracker(Fault::Before, nothing, create, tells_the_fault);
    failed_with_firecracker(Fault::After, nothing, create, tells_the_fault);
    failed_with_firecracker(Fault::From, nothing, create, tells_both);
}

#[test]
fn each_call_of_a_restart_with_firecracker_may_fail() {
    for kind in [Fault::Before, Fault::After] {
        let passed_over = Cell::new(0);
        failed_with_firecracker(kind, running, restart, |outcome| match outcome {
            // A network that is not removed serves the run that follows.
            Outcome::Succeeded { .. } => passed_over.set(passed_over.get() + 1),
            failed => tells_the_fault(failed),
        });
        assert_eq!(passed_over.get(), 1);
    }
}

#[test]
fn each_call_of_an_image_build_may_fail() {
    // To leave the scratch folder behind is a warning only: the image is there.
    failed_at_every_call(Fault::Before, nothing, build_image, |_| {});
    failed_at_every_call(Fault::From, nothing, build_image, |_| {});
}

#[test]
fn each_call_of_a_build_with_a_boot_of_its_own_may_fail() {
    let scene = || {
        let scene = Scene::new();
        scene.world.provision();
        scene
    };
    // What is left behind of a part is a warning only, as above; this goes on to the end.
    for kind in [Fault::Before, Fault::After, Fault::From] {
        failed_where(scene, kind, nothing, build_provisioned, |_| {});
    }
}
