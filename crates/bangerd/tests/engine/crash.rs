//! The daemon killed before and after everything that it writes down or does
//! to the host; then the one that puts it right, too.

use banger_core::vm::{VmState, Vmm, WaitFor};
use banger_testkit::Life;
use bangerd::engine::Engine;
use bangerd::engine::task::Wish;

use crate::scene::{
    Scene, ask, build_from, build_image, build_provisioned, change_home, copy, create,
    create_limited, elsewhere, fill, give_more, promote,
};

/// Does `work` after `before` on a fresh host, killed at each of its steps in
/// turn until it is survived. The daemons after it die too, each one step later;
/// in `script/soak` the first of them dies at each of its steps, too.
fn killed_at_every_step(before: impl AsyncFn(&Engine), work: impl AsyncFn(&Engine)) {
    killed_where(Scene::new, |_| (), before, work);
}

/// The same with Firecracker on snapshots.
fn killed_with_firecracker(before: impl AsyncFn(&Engine), work: impl AsyncFn(&Engine)) {
    killed_where(|| Scene::with(Vmm::Firecracker), |_| (), before, work);
}

fn killed_where(
    scene: impl Fn() -> Scene,
    like: impl Fn(&Scene),
    before: impl AsyncFn(&Engine),
    work: impl AsyncFn(&Engine),
) {
    let every_pair = std::env::var_os("BANGER_SOAK").is_some();
    let (mut last, mut second, mut hosts) = (0, 0, 0);
    loop {
        let scene = scene();
        scene.live(&Life::default(), &before).unwrap();
        like(&scene);
        let survived = scene.live(&Life::until(last), &work).is_some();
        let put_right = scene.settle(&Life::until(second));
        (second + 1..).take_while(|_| !put_right).find(|n| scene.settle(&Life::until(*n)));
        scene.use_and_delete(&scene.check());
        hosts += 1;
        if every_pair && !put_right {
            second += 1;
        } else if survived {
            println!("{last} steps, {hosts} hosts");
            assert!(last > 10, "so few steps cannot be all");
            return;
        } else {
            (last, second) = (last + 1, 0);
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
fn create_with_a_new_seed_is_survived() {
    killed_at_every_step(change_home, stopped);
}

#[test]
fn start_is_survived() {
    killed_at_every_step(stopped, async |engine| {
        drop(ask(engine, "dev", Wish::Start(WaitFor::Agent)).await)
    });
}

#[test]
fn start_of_a_guest_that_boots_twice_is_survived() {
    let start = async |engine: &Engine| drop(ask(engine, "dev", Wish::Start(WaitFor::Agent)).await);
    killed_where(Scene::new, |scene| scene.world.boot_badly(1), stopped, start);
}

#[test]
fn stop_is_survived() {
    killed_at_every_step(running, async |engine| drop(ask(engine, "dev", Wish::Stop).await));
}

#[test]
fn restart_is_survived() {
    killed_at_every_step(running, async |engine| {
        drop(ask(engine, "dev", Wish::Restart(WaitFor::Agent)).await)
    });
}

#[test]
fn kill_is_survived() {
    killed_at_every_step(running, async |engine| drop(ask(engine, "dev", Wish::Kill).await));
}

#[test]
fn delete_is_survived() {
    killed_at_every_step(running, async |engine| drop(ask(engine, "dev", Wish::Delete).await));
}

#[test]
fn create_with_firecracker_is_survived() {
    killed_with_firecracker(nothing, running);
}

#[test]
fn restart_with_firecracker_is_survived() {
    killed_with_firecracker(running, async |e| {
        drop(ask(e, "dev", Wish::Restart(WaitFor::Agent)).await)
    });
}

#[test]
fn kill_with_firecracker_is_survived() {
    killed_with_firecracker(running, async |e| drop(ask(e, "dev", Wish::Kill).await));
}

#[test]
fn delete_with_firecracker_is_survived() {
    killed_with_firecracker(running, async |e| drop(ask(e, "dev", Wish::Delete).await));
}

#[test]
fn a_pause_is_survived() {
    let limited = async |engine: &Engine| drop(create_limited(engine).await);
    killed_at_every_step(limited, async |engine| {
        fill(engine).await;
        give_more(engine).await;
        assert_eq!(engine.vms()[0].state, VmState::Running);
        drop(ask(engine, "dev", Wish::Stop).await);
    });
}

#[test]
fn a_promotion_is_survived() {
    killed_at_every_step(elsewhere, async |engine| {
        drop(promote(engine).await);
        running(engine).await;
    });
}

#[test]
fn an_image_of_a_vm_is_survived() {
    killed_at_every_step(stopped, async |engine| drop(copy(engine).await));
    killed_with_firecracker(stopped, async |engine| drop(copy(engine).await));
}

#[test]
fn a_build_from_an_image_is_survived() {
    killed_at_every_step(nothing, async |engine| drop(build_from(engine).await));
    killed_with_firecracker(nothing, async |engine| drop(build_from(engine).await));
}

#[test]
fn a_build_with_a_boot_of_its_own_is_survived() {
    let provisions = |scene: &Scene| scene.world.provision();
    killed_where(Scene::new, provisions, nothing, async |engine| {
        let outcome = format!("{:?}", build_provisioned(engine).await);
        assert!(outcome.contains("holds no ext4 file system"), "{outcome}");
    });
}

#[test]
fn image_build_is_survived() {
    killed_at_every_step(nothing, async |engine| drop(build_image(engine).await));
}
