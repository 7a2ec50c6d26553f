//! The fields of forms, and what is wrong with them.

use banger_core::doctor::Status;
use banger_core::id::VmId;
use banger_core::image::check_root_size;
use banger_core::name::Name;
use banger_core::size::Size;
use banger_core::vm::{RootDisk, Vm, Vmm, check_overlay, check_size};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tui_input::Input;

use super::{Form, Purpose, key_in, type_in};
use crate::cmd::image::{named, repository};
use crate::tui::model::Model;

/// What a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Id {
    /// A name.
    Name,
    /// An image that is there.
    Image,
    /// Virtual CPUs.
    Vcpus,
    /// Memory.
    Memory,
    /// The work disk.
    Disk,
    /// The network.
    Network,
    /// What runs it.
    Vmm,
    /// Whether opencode runs in it.
    Opencode,
    /// How far it is started.
    Start,
    /// The distribution of an image.
    Distribution,
    /// Its release.
    Release,
    /// More packages.
    Packages,
    /// The size of a root file system.
    Size,
    /// What a root overlay may take.
    Overlay,
    /// A container's image.
    Reference,
}

/// What is in a field.
#[derive(Debug, Clone)]
pub enum Value {
    /// A text.
    Text(Input),
    /// One of several.
    Choice {
        /// All of them.
        options: Vec<String>,
        /// The chosen.
        at: usize,
    },
}

impl Value {
    /// As text.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Text(input) => input.value().trim(),
            Self::Choice { options, at } => options.get(*at).map_or("", String::as_str),
        }
    }

    fn key(&mut self, event: KeyEvent) {
        match self {
            Self::Text(input) => key_in(input, event),
            Self::Choice { options, at } => match event.code {
                KeyCode::Left => *at = at.checked_sub(1).unwrap_or(options.len().saturating_sub(1)),
                KeyCode::Right | KeyCode::Char(' ') => *at = (*at + 1) % options.len().max(1),
                // The next that begins so.
                KeyCode::Char(letter) => {
                    let after = (1..=options.len()).map(|i| (*at + i) % options.len());
                    let found = after.into_iter().find(|i| options[*i].starts_with(letter));
                    *at = found.unwrap_or(*at);
                }
                _ => {}
            },
        }
    }
}

/// A field.
#[derive(Debug, Clone)]
pub struct Field {
    /// What it is.
    pub id: Id,
    /// What it is called.
    pub label: &'static str,
    /// What is in it.
    pub value: Value,
    /// What to know of it.
    pub hint: String,
    /// What was in it at first.
    pub was: String,
    /// Whether what is typed first takes the place of what is there.
    pub replaced: bool,
    /// Whether somebody has typed into it.
    pub seen: bool,
}

impl Field {
    fn new(id: Id, label: &'static str, value: Value, hint: impl Into<String>) -> Self {
        let (was, hint) = (value.text().to_owned(), hint.into());
        Self { id, label, value, hint, was, replaced: false, seen: false }
    }

    /// One whose value is written anew rather than changed.
    fn replaced(self) -> Self {
        Self { replaced: true, ..self }
    }

    /// Takes a key.
    pub(super) fn key(&mut self, event: KeyEvent) {
        let types = matches!(event.code, KeyCode::Char(_))
            && !event.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
        if types {
            self.begin_anew();
        }
        (self.replaced, self.seen) = (false, true);
        self.value.key(event);
    }

    /// Takes a text that was pasted.
    pub(super) fn paste(&mut self, text: &str) {
        self.begin_anew();
        (self.replaced, self.seen) = (false, true);
        if let Value::Text(input) = &mut self.value {
            type_in(input, text);
        }
    }

    fn begin_anew(&mut self) {
        if self.replaced
            && let Value::Text(input) = &mut self.value
        {
            input.reset();
        }
    }

    /// Whether it says something else than at first.
    pub(super) fn is_changed(&self) -> bool {
        self.value.text() != self.was
    }
}

fn text(id: Id, label: &'static str, value: impl Into<String>, hint: impl Into<String>) -> Field {
    Field::new(id, label, Value::Text(Input::new(value.into())), hint)
}

fn choice(id: Id, label: &'static str, options: &[&str], hint: impl Into<String>) -> Field {
    let options = options.iter().map(|option| (*option).to_owned()).collect();
    Field::new(id, label, Value::Choice { options, at: 0 }, hint)
}

/// The limit of a VM's root overlay, if it can have one.
fn overlay(vm: &Vm) -> Option<Field> {
    let now = vm.spec.overlay.map(Size::exact).unwrap_or_default();
    let field =
        text(Id::Overlay, "overlay", now, "what it may take of the host's disk; empty: all");
    (vm.spec.root_disk != RootDisk::Clone).then(|| field.replaced())
}

impl Form {
    fn new(purpose: Purpose, title: String, fields: Vec<Field>) -> Self {
        Self { purpose, title, fields, focus: 0, tried: false }
    }

    /// That of a new VM of `image`, or of the default one.
    #[must_use]
    pub fn create(model: &Model, image: Option<&str>) -> Self {
        let config = &model.config;
        let mut names: Vec<_> =
            model.lists.images.values().map(|image| image.name.to_string()).collect();
        names.sort();
        let wanted = image.unwrap_or(&config.image);
        let at = names.iter().position(|name| name == wanted).unwrap_or(0);
        let mut vmm = ["qemu", "firecracker"];
        if config.vmm == Vmm::Firecracker {
            vmm.reverse();
        }
        let opencode = if config.opencode { ["yes", "no"] } else { ["no", "yes"] };
        let fields = vec![
            text(Id::Name, "name", "", "empty: one is made up"),
            Field::new(
                Id::Image,
                "image",
                Value::Choice { options: names, at },
                "← → or its first letter",
            ),
            text(Id::Vcpus, "vcpus", config.vcpus.to_string(), "1 to 32").replaced(),
            text(Id::Memory, "memory", config.memory.exact(), "such as 512M or 4G").replaced(),
            text(Id::Disk, "work disk", config.disk.exact(), "mounted at /root").replaced(),
            choice(Id::Network, "network", &["default", "user", "nat", "none"], "nat needs sudo"),
            choice(Id::Vmm, "vmm", &vmm, "firecracker needs KVM"),
            choice(Id::Opencode, "opencode", &opencode, "its server, on port 4096"),
            choice(Id::Start, "start until", &["ready", "ssh", "agent", "not at all"], ""),
        ];
        Self::new(Purpose::Create, "new VM".to_owned(), fields)
    }

    /// That of another name.
    #[must_use]
    pub fn rename(vm: &Vm) -> Self {
        let hint = "the guest takes it at its next start";
        let fields = vec![text(Id::Name, "name", vm.name.as_str(), hint)];
        Self::new(Purpose::Rename(vm.id.clone()), format!("rename {}", vm.name), fields)
    }

    /// That of other sizes.
    #[must_use]
    pub fn resize(vm: &Vm) -> Self {
        let fields = vec![
            text(Id::Vcpus, "vcpus", vm.spec.vcpus.to_string(), "1 to 32").replaced(),
            text(Id::Memory, "memory", vm.spec.memory.exact(), "such as 512M or 4G").replaced(),
            text(Id::Disk, "work disk", vm.spec.disk.exact(), "it only grows").replaced(),
        ];
        let fields = fields.into_iter().chain(overlay(vm)).collect();
        Self::new(Purpose::Resize(vm.id.clone()), format!("resize {}", vm.name), fields)
    }

    /// That of what the root overlay of a VM that runs may take.
    #[must_use]
    pub fn resize_overlay(vm: &Vm) -> Self {
        let title = format!("overlay of {} (the rest is resized when it is stopped)", vm.name);
        let fields = overlay(vm).into_iter().collect();
        Self::new(Purpose::ResizeOverlay(vm.id.clone()), title, fields)
    }

    /// That of an image of a VM's root.
    #[must_use]
    pub fn promote(vm: &Vm) -> Self {
        let hint = "what is on the work disk is not in it";
        let fields = vec![text(Id::Name, "image", "", hint)];
        let title = format!("image of the root of {}", vm.name);
        Self::new(Purpose::Promote(vm.id.clone()), title, fields)
    }

    /// That of an image of a distribution's packages.
    #[must_use]
    pub fn build() -> Self {
        let fields = vec![
            choice(Id::Distribution, "of", &["debian", "alpine", "void"], "← →"),
            text(Id::Name, "name", "", "empty: the distribution's"),
            text(Id::Release, "release", "", "empty: the one that banger knows best"),
            text(Id::Packages, "packages", "", "more of them, with spaces between"),
            text(Id::Size, "size", "4G", "of its root file system").replaced(),
            choice(Id::Opencode, "opencode", &["yes", "no"], "its server"),
        ];
        Self::new(Purpose::Build, "build an image".to_owned(), fields)
    }

    /// That of an image of a container's.
    #[must_use]
    pub fn pull() -> Self {
        let fields = vec![
            text(Id::Reference, "reference", "", "as 'docker pull' takes it"),
            text(Id::Name, "name", "", "empty: its last word"),
            text(Id::Size, "size", "", "empty: 4G, or more if there is more in it"),
        ];
        Self::new(Purpose::Pull, "pull an image".to_owned(), fields)
    }

    /// The name that the form gives.
    pub(super) fn name(&self) -> Result<Option<Name>, String> {
        let given = match self.text(Id::Name) {
            "" => None,
            given => Some(given.parse::<Name>().map_err(|error| error.reason.to_owned())?),
        };
        match self.purpose {
            Purpose::Create => Ok(given),
            Purpose::Rename(_) | Purpose::Promote(_) => {
                given.map(Some).ok_or_else(|| "it is empty".to_owned())
            }
            Purpose::Build => named(given, self.text(Id::Distribution)).map(Some).map_err(no_name),
            Purpose::Pull => match self.text(Id::Reference) {
                "" => Ok(given),
                reference => named(given, repository(reference)).map(Some).map_err(no_name),
            },
            Purpose::Resize(_) | Purpose::ResizeOverlay(_) => Ok(None),
        }
    }

    /// A size that is written in a field; nothing where it is empty.
    pub(super) fn size(&self, id: Id) -> Result<Option<Size>, String> {
        match self.text(id) {
            "" => Ok(None),
            text => {
                text.parse().map(Some).map_err(|_| "write a size such as 512M or 8G".to_owned())
            }
        }
    }

    pub(super) fn vcpus(&self) -> Result<u32, String> {
        self.text(Id::Vcpus).parse().map_err(|_| "write a number".to_owned())
    }

    /// What is wrong with a field.
    pub(super) fn error(&self, field: &Field, model: &Model) -> Option<String> {
        match field.id {
            Id::Name => match self.name() {
                Err(why) => Some(why),
                Ok(Some(name)) if self.is_taken(&name, model) => Some(format!("'{name}' is taken")),
                Ok(_) => None,
            },
            Id::Image if field.value.text().is_empty() => {
                Some("there is none: build one first (tab Images, key b)".to_owned())
            }
            // Fine values for what the others are, so that each is told of its own.
            Id::Vcpus => match self.vcpus() {
                Err(why) => Some(why),
                Ok(vcpus) => check_size(vcpus, Size::gib(1), Size::gib(1)).err(),
            },
            Id::Memory => self.needed(Id::Memory, |size| check_size(1, size, Size::gib(1))),
            Id::Disk => self.needed(Id::Disk, |size| {
                check_size(1, Size::gib(1), size)?;
                match self.vm(model) {
                    Some(vm) if size < vm.spec.disk => {
                        Err(format!("it has {} already", vm.spec.disk))
                    }
                    _ => Ok(()),
                }
            }),
            Id::Size => match (self.size(Id::Size), &self.purpose) {
                (Err(why), _) => Some(why),
                (Ok(None), Purpose::Build) => Some("it is empty".to_owned()),
                (Ok(None), _) => None,
                (Ok(Some(size)), _) => check_root_size(size).err(),
            },
            Id::Overlay => match self.size(Id::Overlay) {
                Err(why) => Some(why),
                Ok(None) if field.was.is_empty() => None,
                Ok(None) => Some("it has a limit, and keeps one".to_owned()),
                Ok(Some(limit)) => self.bad_limit(limit, model),
            },
            Id::Network | Id::Vmm | Id::Opencode => self.impossible(field, model),
            Id::Reference if field.value.text().is_empty() => Some("it is empty".to_owned()),
            _ => None,
        }
    }

    fn bad_limit(&self, limit: Size, model: &Model) -> Option<String> {
        let vm = self.vm(model)?;
        let taken = model.taken.get(&vm.id).map_or(0, |taken| taken.stats.disk.overlay_bytes);
        let taken = Size::bytes(taken);
        check_overlay(limit, vm.spec.root_disk)
            .err()
            .or_else(|| (limit <= taken).then(|| format!("it takes {taken} already")))
    }

    /// What this host or the image has not.
    fn impossible(&self, field: &Field, model: &Model) -> Option<String> {
        let (chosen, by_firecracker) = (field.value.text(), self.text(Id::Vmm) == "firecracker");
        let host = model.dashboard.as_ref()?;
        // The helper of root may have a KVM that this person has not.
        let is_ready = host.sudo.status == Status::Ok;
        match (field.id, chosen) {
            (Id::Network, "user") if by_firecracker => Some("'user' is QEMU's".to_owned()),
            (Id::Network, "nat") if !is_ready => Some(format!("sudo: {}", host.sudo.detail)),
            (Id::Vmm, "firecracker") if host.kvm.status != Status::Ok && !is_ready => {
                Some("KVM does not work here (tab Doctor)".to_owned())
            }
            (Id::Opencode, "yes") if self.purpose == Purpose::Create => {
                let image = self.text(Id::Image);
                let image = model.lists.images.values().find(|i| i.name.as_str() == image)?;
                // Where the configuration says so for all, an image without it is fine.
                (image.opencode.is_none() && !model.config.opencode)
                    .then(|| format!("{} has none", image.name))
            }
            _ => None,
        }
    }

    fn needed(&self, id: Id, check: impl FnOnce(Size) -> Result<(), String>) -> Option<String> {
        match self.size(id) {
            Err(why) => Some(why),
            Ok(None) => Some("it is empty".to_owned()),
            Ok(Some(size)) => check(size).err(),
        }
    }

    fn is_taken(&self, name: &Name, model: &Model) -> bool {
        let is_another = |id: &VmId| Some(id) != self.vm_id();
        match self.purpose {
            Purpose::Create | Purpose::Rename(_) => {
                model.lists.vms.values().any(|vm| vm.name == *name && is_another(&vm.id))
            }
            _ => model.lists.images.values().any(|image| image.name == *name),
        }
    }

    fn vm_id(&self) -> Option<&VmId> {
        match &self.purpose {
            Purpose::Rename(vm)
            | Purpose::Resize(vm)
            | Purpose::ResizeOverlay(vm)
            | Purpose::Promote(vm) => Some(vm),
            Purpose::Create | Purpose::Build | Purpose::Pull => None,
        }
    }

    /// The VM that it is about.
    pub(super) fn vm<'a>(&self, model: &'a Model) -> Option<&'a Vm> {
        model.lists.vms.get(self.vm_id()?)
    }
}

fn no_name(_: crate::error::CommandError) -> String {
    "give it a name".to_owned()
}
