//! What is seen by who watches.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use banger_core::api::ChangeVm;
use banger_core::dashboard::HostUse;
use banger_core::id::VmId;
use banger_core::lists::Lists;
use banger_core::operation::{EventKind, Operation};
use banger_core::vm::{VmState, WaitFor};
use banger_testkit::Life;
use bangerd::engine::Engine;
use bangerd::engine::task::Wish;
use bangerd::store::{images, operations};
use rusqlite::Transaction;

use crate::scene::{Scene, ask, build_from, build_image, create};

/// The lists as they are, watched from now on, with the last `count` events.
async fn watch(engine: &Engine, count: u64) -> Lists {
    let listed = engine.dashboard().await.unwrap().daemon.last_event;
    let from = engine.store.read(move |db| operations::recent(db, count)).await.unwrap();
    let lists = engine.store.read(|db| Ok((images::list(db)?, operations::list(db, false)?)));
    let (images, operations) = lists.await.unwrap();
    let mut lists = Lists::new(listed, engine.vms(), images, operations);
    follow(engine, &mut lists, from).await;
    lists
}

async fn follow(engine: &Engine, lists: &mut Lists, from: u64) {
    let read =
        engine.store.read(move |db| operations::events_after(db, None, from, u64::MAX >> 1, 9999));
    read.await.unwrap().iter().for_each(|event| lists.apply(event));
}

#[test]
fn lists_stay_right_by_events_alone() {
    let scene = Scene::new();
    let lived = scene.live(&Life::default(), async |engine| {
        let mut lists = watch(engine, 0).await;
        assert_eq!((lists.vms.len(), lists.images.len()), (0, 1));
        for step in 0..8 {
            match step {
                0 => drop(create(engine, true).await),
                1 => {
                    let id = engine.vm("dev").await.unwrap().vm.id;
                    let name = Some("box".parse().unwrap());
                    engine.change(&id, ChangeVm { name, ..ChangeVm::default() }).await.unwrap();
                }
                2 => drop(ask(engine, "box", Wish::Restart(WaitFor::Ready)).await),
                3 => drop(ask(engine, "box", Wish::Stop).await),
                4 => drop(build_from(engine).await),
                5 => drop(build_image(engine).await),
                6 => drop(ask(engine, "box", Wish::Delete).await),
                _ => {
                    for image in engine.store.read(|db| images::list(db)).await.unwrap() {
                        engine.delete_image(&image.id).await.unwrap();
                    }
                }
            }
            let from = lists.last_seq;
            follow(engine, &mut lists, from).await;
            let mut vms: Vec<_> = lists.vms.values().cloned().collect();
            vms.sort_by(|a, b| a.name.cmp(&b.name));
            assert_eq!(vms, engine.vms(), "step {step}");
            let mut images: Vec<_> = lists.images.values().cloned().collect();
            images.sort_by(|a, b| a.name.cmp(&b.name));
            assert_eq!(
                images,
                engine.store.read(|db| images::list(db)).await.unwrap(),
                "step {step}"
            );
            let listed = engine.store.read(|db| operations::list(db, false)).await.unwrap();
            let known = |operation: &Operation| lists.operations[&operation.id].operation.clone();
            assert_eq!(listed.iter().map(known).collect::<Vec<_>>(), listed, "step {step}");
            // Who comes later sees the same lists, whatever has been.
            let late = watch(engine, 1000).await;
            assert_eq!((&late.vms, &late.images), (&lists.vms, &lists.images), "step {step}");
        }
        assert!(lists.vms.is_empty() && lists.images.is_empty());
    });
    lived.unwrap();
}

/// All of what is under way, however long ago it began.
#[test]
fn recent_events_have_what_is_under_way() {
    let scene = Scene::new();
    let lived = scene.live(&Life::default(), async |engine| {
        create(engine, false).await;
        let recent = |count| engine.store.read(move |db| operations::recent(db, count));
        let last = engine.dashboard().await.unwrap().daemon.last_event;
        assert_eq!(recent(0).await.unwrap(), last);
        assert_eq!(recent(2).await.unwrap(), last - 2);
        assert_eq!(recent(1000).await.unwrap(), 0);
        let id = engine.vm("dev").await.unwrap().vm.id;
        engine.request(&id, Wish::Start(WaitFor::Ready)).await.unwrap();
        assert!(recent(0).await.unwrap() <= last, "the start's first event is left out");
    });
    lived.unwrap();
    scene.settle(&Life::default());
    scene.use_and_delete(&scene.check());
}

/// Who has heard of an event lists what it tells of, or what came after it.
#[test]
fn lists_are_never_behind_an_event() {
    let scene = Scene::new();
    let lived = scene.live(&Life::default(), async |engine| {
        let (done, looks) = (Arc::new(AtomicBool::new(false)), engine.clone());
        let (stop, told) = (done.clone(), engine.store.watch());
        // On a thread of its own, for it is not to wait for the VM's task.
        let seen = std::thread::spawn(move || {
            let (mut last, mut seen) = (0, Vec::new());
            while !stop.load(Ordering::Relaxed) {
                let seq = *told.borrow();
                if seq != last {
                    last = seq;
                    seen.push((seq, looks.vms()));
                }
            }
            seen
        });
        for _ in 0..5 {
            create(engine, true).await;
            ask(engine, "dev", Wish::Restart(WaitFor::Ready)).await;
            ask(engine, "dev", Wish::Delete).await;
        }
        done.store(true, Ordering::Relaxed);
        let seen = seen.join().unwrap();
        let read =
            |db: &Transaction<'_>| operations::events_after(db, None, 0, u64::MAX >> 1, 9999);
        let events = engine.store.read(read).await.unwrap();
        // Each VM's states, and from which event on; none once it is gone.
        let mut states: HashMap<VmId, Vec<(u64, Option<VmState>)>> = HashMap::new();
        for event in events {
            let (vm, state) = match event.kind {
                EventKind::VmChanged { vm } => (vm.id, Some(vm.state)),
                EventKind::StateChanged { vm, state } => (vm, Some(state)),
                EventKind::VmDeleted { vm } => (vm, None),
                _ => continue,
            };
            states.entry(vm).or_default().push((event.seq, state));
        }
        assert!(states.len() == 5 && seen.len() > 20, "{} {}", states.len(), seen.len());
        for (seq, vms) in seen {
            for (id, states) in &states {
                let listed = vms.iter().find(|vm| vm.id == *id).map(|vm| vm.state.clone());
                let heard = states.iter().rposition(|(from, _)| *from <= seq);
                let later = states[heard.unwrap_or(0)..].iter().any(|(_, state)| *state == listed);
                let before = heard.is_none() && listed.is_none();
                assert!(later || before, "{seq}: {listed:?} of {states:?}");
            }
        }
    });
    lived.unwrap();
}

#[test]
fn use_is_told_to_all_who_listen_by_one_look() {
    let scene = Scene::new();
    let lived = scene.live(&Life::default(), async |engine| {
        create(engine, true).await;
        let (mut one, mut other) = (engine.ticks(), engine.ticks());
        one.changed().await.unwrap();
        other.changed().await.unwrap();
        let seen = [&mut one, &mut other].map(|ticks| ticks.borrow_and_update().clone().unwrap());
        assert!(Arc::ptr_eq(&seen[0], &seen[1]));
        let vm = engine.vm("dev").await.unwrap().vm;
        let host = seen[0].host;
        assert_eq!((host.vms, host.running, host.vcpus), (1, 1, u64::from(vm.spec.vcpus)));
        // What is free changes meanwhile: others write to that disk, too.
        let now = engine.dashboard().await.unwrap().host;
        assert_eq!(HostUse { capacity: host.capacity, pressure: host.pressure, ..now }, host);
        let stats = &seen[0].vms[0];
        assert_eq!(stats.vm, vm.id);
        assert_eq!(
            host.disk.as_bytes(),
            stats.stats.disk.overlay_bytes + stats.stats.disk.work_bytes
        );
        // Nobody looks for nobody, and somebody does for the next.
        drop((one, other));
        let mut again = engine.ticks();
        again.changed().await.unwrap();
        ask(engine, "dev", Wish::Delete).await;
        while !again.borrow_and_update().as_ref().unwrap().vms.is_empty() {
            again.changed().await.unwrap();
        }
    });
    lived.unwrap();
}
