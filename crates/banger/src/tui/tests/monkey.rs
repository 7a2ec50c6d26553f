//! Whatever is typed and whatever comes, nothing panics.

use banger_core::agent::Port;
use banger_core::operation::{EventKind, OperationKind};
use banger_core::vm::VmState;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use proptest::prelude::*;

use super::scene::{Scene, report, snapshot, vm};
use crate::tui::dialog::Problem;
use crate::tui::model::Ports;
use crate::tui::update::{Effect, Input};

fn keys() -> impl Strategy<Value = KeyEvent> {
    let code = prop_oneof![
        8 => prop::sample::select("qwertzuiopasdfghjklyxcvbnm?:/<> 1234RSKDPGFNZ".chars().collect::<Vec<_>>()).prop_map(KeyCode::Char),
        2 => any::<char>().prop_map(KeyCode::Char),
        6 => prop::sample::select(vec![
            KeyCode::Enter, KeyCode::Esc, KeyCode::Tab, KeyCode::BackTab, KeyCode::Up, KeyCode::Down,
            KeyCode::Left, KeyCode::Right, KeyCode::PageUp, KeyCode::PageDown, KeyCode::Home,
            KeyCode::End, KeyCode::Backspace, KeyCode::Delete, KeyCode::F(1), KeyCode::Null,
        ]),
    ];
    let modifiers = prop::sample::select(vec![
        KeyModifiers::NONE,
        KeyModifiers::NONE,
        KeyModifiers::SHIFT,
        KeyModifiers::CONTROL,
        KeyModifiers::ALT,
    ]);
    (code, modifiers).prop_map(|(code, modifiers)| KeyEvent::new(code, modifiers))
}

#[derive(Debug, Clone)]
enum Step {
    Key(KeyEvent),
    Mouse(MouseEventKind, u16, u16),
    Paste(String),
    Size(u16, u16),
    Away,
    Tick(u8),
    Log(Vec<u8>),
    /// The daemon is heard again, with so many VMs.
    Loaded(u64),
    /// A VM is made, changed or deleted.
    Vm(u64, bool),
    /// An operation begins, goes on, or fails.
    Begun(u64),
    Stage(u64, String),
    Failed(u64, String),
}

fn steps() -> impl Strategy<Value = Step> {
    let mouse = prop::sample::select(vec![
        MouseEventKind::Down(MouseButton::Left),
        MouseEventKind::ScrollUp,
        MouseEventKind::ScrollDown,
        MouseEventKind::Moved,
    ]);
    prop_oneof![
        20 => keys().prop_map(Step::Key),
        3 => (mouse, 0_u16..130, 0_u16..50).prop_map(|(kind, x, y)| Step::Mouse(kind, x, y)),
        1 => any::<String>().prop_map(Step::Paste),
        1 => (1_u16..130, 1_u16..50).prop_map(|(x, y)| Step::Size(x, y)),
        1 => Just(Step::Away),
        1 => any::<u8>().prop_map(Step::Tick),
        1 => any::<Vec<u8>>().prop_map(Step::Log),
        1 => (0_u64..9).prop_map(Step::Loaded),
        2 => (0_u64..9, any::<bool>()).prop_map(|(bits, gone)| Step::Vm(bits, gone)),
        1 => (0_u64..4).prop_map(Step::Begun),
        1 => (0_u64..4, any::<String>()).prop_map(|(bits, name)| Step::Stage(bits, name)),
        1 => (0_u64..4, any::<String>()).prop_map(|(bits, why)| Step::Failed(bits, why)),
    ]
}

/// What the shell would bring for what was wanted.
fn answer(scene: &mut Scene) {
    for effect in scene.done() {
        let input = match effect {
            Effect::Examine => Input::Doctor(Ok(report())),
            Effect::Ports(vm) => {
                let port = |port| Port { port, address: "0.0.0.0".to_owned(), process: None };
                Input::Ports(vm, Ports::Known(vec![port(22), port(80)]))
            }
            Effect::Ssh(vm) => Input::Entrance(vm, Ok(Vec::new())),
            Effect::Images => Input::Images(Ok(Vec::new())),
            Effect::Send(request) => {
                let problem = Problem::new(request.what, "no", None);
                match request.form {
                    Some(form) => Input::Refused(problem, form),
                    None => Input::Failed(problem),
                }
            }
            Effect::Forward(vm, port, _) => {
                Input::NotForwarded(vm, port, Problem::new("forward", "no", None))
            }
            Effect::Password(_) => Input::Password("secret".to_owned()),
            Effect::OpenLog(_, stream) => Input::Log(stream, b"one\ntwo\n".to_vec()),
            _ => continue,
        };
        scene.take(input);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_inputs_panics(steps in prop::collection::vec(steps(), 1..60)) {
        let mut scene = Scene::usual((80, 24));
        for step in steps {
            match step {
                Step::Key(event) => {
 scene.take(Input::Key(event)); },
                Step::Mouse(kind, column, row) => {
                    let event = MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE };
                    scene.take(Input::Mouse(event));
                }
                Step::Paste(text) => {
 scene.take(Input::Paste(text)); },
                Step::Size(width, height) => scene.size = (width, height),
                Step::Away => {
 scene.take(Input::Away("gone".to_owned())); },
                Step::Tick(percent) => scene.tick(percent.into()),
                Step::Loaded(count) => {
                    let vms = (0..count).map(|i| vm(i, &format!("vm{i}"), VmState::Running));
                    let mut loaded = snapshot(vms.collect(), Vec::new());
                    loaded.dashboard.daemon.last_event = scene.model.lists.last_seq;
                    scene.take(Input::Loaded(Box::new(loaded)));
                }
                Step::Vm(bits, gone) => {
                    let vm = Box::new(vm(bits, &format!("vm{bits}"), VmState::Starting));
                    scene.event(None, match gone {
                        true => EventKind::VmDeleted { vm: vm.id.clone() },
                        false => EventKind::VmChanged { vm },
                    });
                }
                Step::Begun(bits) => scene.begun(bits, OperationKind::VmCreate, "new", Some(bits)),
                Step::Stage(bits, said) => {
                    scene.stage(bits, &said, Some(7));
                    scene.event(Some(bits), EventKind::Log { line: said.repeat(20) });
                    scene.event(Some(bits), EventKind::Warning { message: said });
                }
                Step::Failed(bits, why) => scene.failed(bits, &why, "try again"),
                Step::Log(bytes) => {
                    if let Some(stream) = scene.model.log.as_ref().map(|log| log.stream) {
                        scene.take(Input::Log(stream, bytes));
                    }
                }
            }
            answer(&mut scene);
            scene.draw(true);
        }
    }
}
