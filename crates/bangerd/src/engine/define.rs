//! What a new VM is made of: what was asked for, the configuration, and what
//! works here.

use banger_core::api::{ApiError, CreateVm, ErrorKind};
use banger_core::config::Config;
use banger_core::id::VmId;
use banger_core::image::Image;
use banger_core::name::Name;
use banger_core::vm::{
    MIN_DISK, Network, RootDisk, Vm, VmSpec, VmState, Vmm, check_overlay, check_size,
};
use banger_host::{AskError, Ready};

use crate::clock::now;
use crate::engine::Engine;
use crate::engine::resources::blocking;
use crate::vmm::firecracker::MAX_VCPUS;

const SUDO_REMEDY: &str = "see 'banger doctor'";

impl Engine {
    /// The VM that a request describes.
    ///
    /// # Errors
    /// It makes no sense here.
    pub(crate) async fn define(&self, request: &CreateVm, image: &Image) -> Result<Vm, ApiError> {
        let config = &self.config;
        let vcpus = request.vcpus.unwrap_or(config.vcpus);
        let memory = request.memory.unwrap_or(config.memory);
        let disk = request.disk.unwrap_or(config.disk);
        check_size(vcpus, memory, disk).map_err(invalid)?;
        let name = match &request.name {
            Some(name) => name.clone(),
            None => generated_name()?,
        };
        let vmm = request.vmm.unwrap_or(config.vmm);
        let ready = match (request.root_disk, vmm, request.network) {
            // sudo that is not allowed tells its administrator of each try.
            (Some(RootDisk::Qcow2 | RootDisk::Clone), Vmm::Qemu, network)
                if network != Some(Network::Nat) =>
            {
                Err(AskError::NotReady { why: "it was not asked".to_owned() })
            }
            _ => self.ready().await?,
        };
        let (root_disk, root_disk_reason) = choose_root_disk(
            request.root_disk,
            vmm,
            image.boot_set.is_ours(),
            &ready_for(image, ready.clone()),
        )?;
        if let Some(limit) = request.overlay {
            check_overlay(limit, root_disk).map_err(invalid)?;
        }
        request.limits.check().map_err(invalid)?;
        let network = choose_network(request.network, vmm, &ready)?;
        if request.limits.of_network() && vmm == Vmm::Qemu {
            return Err(invalid("QEMU cannot limit the network").remedy("use Firecracker"));
        }
        if vmm == Vmm::Firecracker {
            self.check_firecracker(&ready, vcpus, network, root_disk)?;
        }
        let wants_opencode = request.opencode.unwrap_or(config.opencode);
        if request.opencode == Some(true) && image.opencode.is_none() {
            return Err(invalid(format!("the image '{}' has no opencode", image.name)));
        }
        Ok(Vm {
            id: VmId::from_bits(rand::random()),
            name,
            spec: VmSpec {
                image: image.id.clone(),
                image_name: image.name.clone(),
                vcpus,
                memory,
                disk,
                network,
                opencode: wants_opencode && image.opencode.is_some(),
                vmm,
                overlay: request.overlay,
                limits: request.limits,
                root_disk,
                root_disk_reason,
            },
            state: VmState::Defined,
            created_at: now(),
            complete: false,
            temporary: false,
            lease: None,
            run: None,
        })
    }

    /// What the helper can do here.
    ///
    /// # Errors
    /// A bug.
    pub(crate) async fn ready(&self) -> Result<Result<Ready, AskError>, ApiError> {
        let helper = self.helper.clone();
        let asked = blocking(move || Ok(helper.ready())).await;
        asked.map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))
    }

    /// Fails if no VM can be what the configuration says of all: before an image is made for one.
    pub(crate) async fn check_boots(&self) -> Result<(), ApiError> {
        let Config { vcpus, memory, vmm, .. } = self.config;
        check_size(vcpus, memory, MIN_DISK).map_err(invalid)?;
        if vmm == Vmm::Firecracker {
            let ready = self.ready().await?;
            self.check_firecracker(&ready, vcpus, Network::None, RootDisk::Clone)?;
        }
        Ok(())
    }

    /// Fails if Firecracker cannot run such a VM here.
    fn check_firecracker(
        &self,
        ready: &Result<Ready, AskError>,
        vcpus: u32,
        network: Network,
        root_disk: RootDisk,
    ) -> Result<(), ApiError> {
        let by_helper = matches!(ready, Ok(Ready { no_vmm: None, .. }));
        let (why, remedy) = if !self.kvm && !by_helper {
            ("Firecracker needs KVM, which does not work here", "use QEMU (vmm 'qemu')")
        } else if vcpus > MAX_VCPUS {
            ("Firecracker gives a VM at most 32 vcpus", "ask for fewer")
        } else if network == Network::User {
            ("the network 'user' is QEMU's", "use 'nat', or 'none': SSH needs no network")
        } else if root_disk == RootDisk::Qcow2 {
            ("Firecracker cannot read qcow2", "use the root disk 'clone'")
        } else {
            return Ok(());
        };
        Err(invalid(why).remedy(remedy))
    }
}

/// What the helper can do with an image's files: it uses only those in the store.
fn ready_for(image: &Image, ready: Result<Ready, AskError>) -> Result<Ready, AskError> {
    let elsewhere = || {
        format!(
            "the files of '{0}' are not in the store: run 'banger image promote {0}'",
            image.name
        )
    };
    let ready = ready?;
    let no_mapper = ready.no_mapper.or(image.in_place.is_some().then(elsewhere));
    Ok(Ready { no_mapper, ..ready })
}

/// The first root disk that is instant here, unless one is asked for, and why it is that one.
fn choose_root_disk(
    asked: Option<RootDisk>,
    vmm: Vmm,
    ours: bool,
    ready: &Result<Ready, AskError>,
) -> Result<(RootDisk, String), ApiError> {
    let no_snapshot = match ready {
        Ok(Ready { no_mapper: None, .. }) => None,
        Ok(Ready { no_mapper: Some(why), .. }) => Some(why.clone()),
        Err(error) => Some(error.to_string()),
    };
    let raw = "its initramfs is not banger's, so its root is written to before it boots";
    let chosen = match (asked, no_snapshot, vmm) {
        (Some(RootDisk::DmSnapshot), Some(why), _) => {
            let why = format!("the root disk 'dm-snapshot' is not possible here: {why}");
            return Err(invalid(why).remedy(SUDO_REMEDY));
        }
        (Some(RootDisk::Qcow2), ..) if !ours => {
            return Err(invalid(format!("the root disk 'qcow2' is not possible: {raw}"))
                .remedy("use 'clone'"));
        }
        (Some(asked), ..) => (asked, "asked for".to_owned()),
        (None, Some(_), Vmm::Qemu) if !ours => (RootDisk::Clone, raw.to_owned()),
        (None, None, _) => {
            (RootDisk::DmSnapshot, "instant on any file system, and sudo is ready".to_owned())
        }
        (None, Some(_), Vmm::Qemu) => {
            let why = "instant on any file system, and QEMU can use it";
            (RootDisk::Qcow2, why.to_owned())
        }
        (None, Some(why), Vmm::Firecracker) => {
            // It is kept with the VM, and what sudo says today is not news for long.
            let why = if ready.is_err() { "sudo is not ready" } else { &why };
            (RootDisk::Clone, format!("Firecracker reads raw disks only; no dm-snapshot: {why}"))
        }
    };
    Ok(chosen)
}

/// The network that is asked for; else QEMU's own, and with Firecracker the one that there can be.
fn choose_network(
    asked: Option<Network>,
    vmm: Vmm,
    ready: &Result<Ready, AskError>,
) -> Result<Network, ApiError> {
    let no_nat = match ready {
        Ok(Ready { no_net, .. }) => no_net.clone(),
        Err(error) => Some(error.to_string()),
    };
    match (asked, vmm, no_nat) {
        (Some(Network::Nat), _, Some(why)) => {
            let why = format!("the network 'nat' is not possible here: {why}");
            Err(invalid(why).remedy(SUDO_REMEDY))
        }
        (Some(asked), ..) => Ok(asked),
        (None, Vmm::Qemu, _) => Ok(Network::User),
        (None, Vmm::Firecracker, None) => Ok(Network::Nat),
        (None, Vmm::Firecracker, Some(_)) => Ok(Network::None),
    }
}

fn invalid(why: impl Into<String>) -> ApiError {
    ApiError::new(ErrorKind::Invalid, why)
}

fn generated_name() -> Result<Name, ApiError> {
    let internal = |message: &str| ApiError::new(ErrorKind::Internal, message);
    let name = petname::petname(2, "-");
    let name = name.ok_or_else(|| internal("no name could be generated"))?;
    name.parse().map_err(|_| internal("an unusable name was generated"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_chosen_by_what_there_can_be() {
        let not_ready = || AskError::NotReady { why: "a password is required".to_owned() };
        let ready = |no_net| Ok(Ready { no_mapper: None, no_vmm: None, no_net, drops: Vec::new() });
        let mut chosen = String::new();
        for host in [ready(None), ready(Some("no nft".to_owned())), Err(not_ready())] {
            for vmm in [Vmm::Qemu, Vmm::Firecracker] {
                let network = choose_network(None, vmm, &host).unwrap();
                chosen.push_str(&format!("{vmm}: {network:?}\n"));
            }
            let asked = choose_network(Some(Network::Nat), Vmm::Qemu, &host);
            let asked = asked.map_or_else(|error| error.message, |network| format!("{network:?}"));
            chosen.push_str(&format!("asked: {asked}\n"));
        }
        insta::assert_snapshot!(chosen, @"
        qemu: User
        firecracker: Nat
        asked: Nat
        qemu: User
        firecracker: None
        asked: the network 'nat' is not possible here: no nft
        qemu: User
        firecracker: None
        asked: the network 'nat' is not possible here: sudo is not ready: a password is required
        ");
    }

    #[test]
    fn the_first_root_disk_that_is_instant_is_chosen() {
        let not_ready = Err(AskError::NotReady { why: "a password is required".to_owned() });
        let ready = |no_mapper: Option<&str>| {
            Ok(Ready {
                no_mapper: no_mapper.map(str::to_owned),
                no_vmm: None,
                no_net: None,
                drops: Vec::new(),
            })
        };
        let hosts = [ready(None), ready(Some("this kernel has no device mapper")), not_ready];
        let mut chosen = String::new();
        for host in &hosts {
            for vmm in [Vmm::Qemu, Vmm::Firecracker] {
                let (disk, why) = choose_root_disk(None, vmm, true, host).unwrap();
                chosen.push_str(&format!("{vmm}: {disk:?}, {why}\n"));
            }
            match choose_root_disk(Some(RootDisk::DmSnapshot), Vmm::Qemu, true, host) {
                Ok((disk, why)) => chosen.push_str(&format!("asked: {disk:?}, {why}\n")),
                Err(error) => chosen.push_str(&format!("asked: {}\n", error.message)),
            }
        }
        insta::assert_snapshot!(chosen, @r"
        qemu: DmSnapshot, instant on any file system, and sudo is ready
        firecracker: DmSnapshot, instant on any file system, and sudo is ready
        asked: DmSnapshot, asked for
        qemu: Qcow2, instant on any file system, and QEMU can use it
        firecracker: Clone, Firecracker reads raw disks only; no dm-snapshot: this kernel has no device mapper
        asked: the root disk 'dm-snapshot' is not possible here: this kernel has no device mapper
        qemu: Qcow2, instant on any file system, and QEMU can use it
        firecracker: Clone, Firecracker reads raw disks only; no dm-snapshot: sudo is not ready
        asked: the root disk 'dm-snapshot' is not possible here: sudo is not ready: a password is required
        ");
    }
}
