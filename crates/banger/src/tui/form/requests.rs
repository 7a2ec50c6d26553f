//! What a form that is filled in asks of the daemon, and what the host will bear.

use banger_core::api::{
    BuildDebian, BuildSigned, ChangeVm, CopyVm, CreateVm, MakeImage, PullImage,
};
use banger_core::dashboard::Pressure;
use banger_core::size::Size;
use banger_core::vm::{Network, Vmm, WaitFor};
use banger_wire::Method;

use super::{Form, Id, Preview, Purpose};
use crate::cmd::change::LIMIT;
use crate::tui::dialog::Request;
use crate::tui::model::Model;

/// The suite of Debian that `image build debian` takes, too.
const SUITE: &str = "bookworm";

impl Form {
    /// Why nothing is asked for, though no field is wrong.
    #[must_use]
    pub fn no_request(&self, model: &Model) -> String {
        match self.vm(model) {
            Some(vm) => format!("nothing was changed: {} stays as it is", vm.name),
            None => format!("{}: the VM is gone", self.title),
        }
    }

    /// What is asked for; nothing if a field makes no sense, or there is nothing to do.
    pub(super) fn asked(&self, model: &Model) -> Option<Request> {
        let name = self.name().ok()?;
        match &self.purpose {
            Purpose::Create => {
                let what =
                    name.as_ref().map_or_else(|| "create".to_owned(), |n| format!("create {n}"));
                Some(Request::new(what, Method::POST, "/v1/vms").body(&self.creation(model)?))
            }
            Purpose::Rename(vm) => {
                let name = name.filter(|name| self.vm(model).is_some_and(|vm| vm.name != *name))?;
                let change = ChangeVm { name: Some(name), ..ChangeVm::default() };
                Some(
                    Request::new(&self.title, Method::PATCH, format!("/v1/vms/{vm}")).body(&change),
                )
            }
            Purpose::Resize(vm) | Purpose::ResizeOverlay(vm) => {
                // What nobody has touched is not asked for: it may have been changed elsewhere, and
                // a resize of the memory needs no look at the disk.
                let touched = |id: Id| self.fields.iter().any(|f| f.id == id && f.is_changed());
                let size = |id: Id| {
                    if touched(id) { self.size(id).ok().flatten() } else { None }
                };
                let change = ChangeVm {
                    vcpus: if touched(Id::Vcpus) { self.vcpus().ok() } else { None },
                    memory: size(Id::Memory),
                    disk: size(Id::Disk),
                    overlay: size(Id::Overlay),
                    ..ChangeVm::default()
                };
                self.vm(model)?;
                let path = format!("/v1/vms/{vm}");
                (change != ChangeVm::default())
                    .then(|| Request::new(&self.title, Method::PATCH, path).body(&change))
                    // A disk that grows takes its time.
                    .map(|request| request.within(LIMIT))
            }
            Purpose::Promote(vm) => {
                self.vm(model)?;
                let copy = MakeImage::Vm(CopyVm { vm: vm.to_string(), name: name? });
                Some(Request::new(&self.title, Method::POST, "/v1/images").body(&copy))
            }
            Purpose::Build => {
                let name = name?;
                let what = format!("build {name}");
                let packages: Vec<_> =
                    self.text(Id::Packages).split_whitespace().map(str::to_owned).collect();
                let size = self.size(Id::Size).ok()??;
                let release = Some(self.text(Id::Release).to_owned()).filter(|r| !r.is_empty());
                let opencode = self.text(Id::Opencode) == "yes";
                let signed = |packages| BuildSigned {
                    name: name.clone(),
                    release: release.clone(),
                    mirror: None,
                    keys: Vec::new(),
                    packages,
                    size: Some(size),
                    opencode: Some(opencode),
                    step: None,
                };
                let build = match self.text(Id::Distribution) {
                    "alpine" => MakeImage::Alpine(signed(packages)),
                    "void" => MakeImage::Void(signed(packages)),
                    _ => MakeImage::Debian(BuildDebian {
                        suite: release.clone().unwrap_or_else(|| SUITE.to_owned()),
                        name: name.clone(),
                        packages,
                        size,
                        mirror: None,
                        opencode,
                    }),
                };
                Some(Request::new(what, Method::POST, "/v1/images").body(&build))
            }
            Purpose::Pull => {
                let reference = self.text(Id::Reference).to_owned();
                let pull = MakeImage::Registry(PullImage {
                    name: name?,
                    size: self.size(Id::Size).ok()?,
                    boot_set: None,
                    docker_config: model.docker_config.clone(),
                    reference: reference.clone(),
                });
                Some(
                    Request::new(format!("pull {reference}"), Method::POST, "/v1/images")
                        .body(&pull),
                )
            }
        }
    }

    fn creation(&self, model: &Model) -> Option<CreateVm> {
        let network = match self.text(Id::Network) {
            "user" => Some(Network::User),
            "nat" => Some(Network::Nat),
            "none" => Some(Network::None),
            _ => None,
        };
        let start = match self.text(Id::Start) {
            "ready" => Some(WaitFor::Ready),
            "ssh" => Some(WaitFor::Ssh),
            "agent" => Some(WaitFor::Agent),
            _ => None,
        };
        Some(CreateVm {
            name: self.name().ok()?,
            image: Some(self.text(Id::Image).to_owned()),
            vcpus: Some(self.vcpus().ok()?),
            memory: self.size(Id::Memory).ok()?,
            disk: self.size(Id::Disk).ok()?,
            network,
            vmm: Some(if self.text(Id::Vmm) == "firecracker" {
                Vmm::Firecracker
            } else {
                Vmm::Qemu
            }),
            // Left out where the configuration says the same: then an image without it is fine.
            opencode: Some(self.text(Id::Opencode) == "yes")
                .filter(|yes| *yes != model.config.opencode),
            start,
            ..CreateVm::default()
        })
    }

    /// What the host will bear, as far as sizes are given.
    #[must_use]
    pub fn preview(&self, model: &Model) -> Vec<Preview> {
        let (Some(host), Purpose::Create | Purpose::Resize(_)) = (&model.host, &self.purpose)
        else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        if let Ok(vcpus) = self.vcpus() {
            let (after, of) = (host.vcpus + u64::from(vcpus), host.capacity.cpus);
            let pressure = Pressure::of_turns(after, of);
            let text = format!("CPU   {after} vcpus would run on {of} CPUs");
            lines.push(Preview { pressure, text });
        }
        if let Ok(Some(memory)) = self.size(Id::Memory) {
            let after = host.memory.as_bytes().saturating_add(memory.as_bytes());
            let (after, of) = (Size::bytes(after), host.capacity.memory);
            let pressure = Pressure::of_room(after, of);
            lines.push(Preview {
                pressure,
                text: format!("RAM   {after} of {of} would be reserved"),
            });
        }
        if let Ok(Some(disk)) = self.size(Id::Disk) {
            let had = self.vm(model).map_or(0, |vm| vm.spec.disk.as_bytes());
            let (more, free) = (disk.as_bytes().saturating_sub(had), host.capacity.disk_free);
            let pressure = Pressure::of_room(Size::bytes(more), free);
            let text = format!("disk  up to {} more, {free} are free", Size::bytes(more));
            lines.push(Preview { pressure, text });
        }
        lines
    }
}
