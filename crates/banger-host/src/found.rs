//! What there is on the host that is recognisably this user's and of VMs, whoever knows of it.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use banger_core::helper::uuid_prefix;
use banger_core::net::{bridge, tap};
use banger_core::resource::{Observed, ResourceSpec, Role};

use crate::helper::{devices, is_used, tap_owner};
use crate::process::{arguments, identify};
use crate::resources::tool;

/// A resource that is there. Only as much of its spec is known as it takes to release it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub spec: ResourceSpec,
    /// What was seen of it.
    pub observed: Observed,
}

impl From<ResourceSpec> for Found {
    fn from(spec: ResourceSpec) -> Self {
        Self { spec, observed: Observed::default() }
    }
}

/// All that is there, in an order in which it can be released. `runs` is the folder of the VMs' run
/// folders.
///
/// # Errors
/// The host cannot be looked at.
pub(crate) fn found(runs: &Path) -> io::Result<Vec<Found>> {
    let uid = rustix::process::geteuid().as_raw();
    let mut all = processes(uid, runs)?;
    all.extend(root_devices(uid, Path::new("/sys/block"))?.into_iter().map(Found::from));
    all.extend(links(uid, Path::new("/sys/class/net"))?.into_iter().map(Found::from));
    all.extend(entries(runs)?.map(|path| ResourceSpec::Dir { path }.into()));
    Ok(all)
}

/// The paths in a folder; none if it is not there.
fn entries(folder: &Path) -> io::Result<impl Iterator<Item = PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        entries => Some(entries?),
    };
    Ok(entries.into_iter().flatten().flatten().map(|entry| entry.path()))
}

/// The processes of VMs: each names something in its run folder.
fn processes(uid: u32, runs: &Path) -> io::Result<Vec<Found>> {
    let needle = format!("{}/", runs.display());
    let mut all = Vec::new();
    for folder in entries(Path::new("/proc"))? {
        let pid = folder.file_name().and_then(|name| name.to_str()?.parse().ok());
        let Some(pid) = pid else { continue };
        let args = arguments(&folder);
        if !args.iter().any(|arg| arg.contains(&needle)) {
            continue;
        }
        let program = fs::read_link(folder.join("exe")).unwrap_or_default();
        let program = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let role = [Role::Vmm, Role::Firecracker, Role::Vsock]
            .into_iter()
            .find(|role| program.starts_with(tool(*role).program()));
        let ours = fs::metadata(&folder).is_ok_and(|m| m.uid() == uid);
        if let (Some(role), true, Some(process)) = (role, ours, identify(pid)?) {
            let spec = ResourceSpec::Process { role, args, log: PathBuf::new() };
            all.push(Found { spec, observed: Observed { process: Some(process) } });
        }
    }
    Ok(all)
}

fn root_devices(uid: u32, blocks: &Path) -> io::Result<Vec<ResourceSpec>> {
    let vm = |uuid: &str| uuid.strip_prefix(&uuid_prefix(uid))?.parse().ok();
    let devices = devices(blocks)?.into_iter().filter_map(|(_, uuid)| vm(&uuid));
    let spec =
        |vm| ResourceSpec::RootDevice { uid, vm, base: PathBuf::new(), overlay: PathBuf::new() };
    Ok(devices.map(spec).collect())
}

/// Taps, then the bridge.
fn links(uid: u32, devices: &Path) -> io::Result<Vec<ResourceSpec>> {
    let address = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?;
        let bits = u32::from_str_radix(name.strip_prefix("bgr-")?, 16).ok()?;
        let address = Ipv4Addr::from_bits(bits);
        // What a VMM has open may be of another daemon's.
        let ours = tap(address) == name && tap_owner(path) == Some(uid) && !is_used(path);
        ours.then_some(address)
    };
    let taps = entries(devices)?.filter_map(|path| address(&path));
    let mut all: Vec<_> = taps.map(|address| ResourceSpec::Tap { uid, address }).collect();
    let bridge = devices.join(bridge(uid));
    // Those that will be gone by then are no use of it.
    let ports = entries(&bridge.join("brif"))?.count();
    if bridge.exists() && ports <= all.len() {
        let subnet = Default::default();
        all.push(ResourceSpec::Network { uid, subnet, dns: Vec::new(), host_ports: Vec::new() });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_known_by_name_and_owner() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        let tap = |name: &str, owner: &str| {
            fs::create_dir_all(at("net").join(name)).unwrap();
            fs::write(at("net").join(name).join("owner"), owner).unwrap();
        };
        tap("bgr-ac1c0002", "7\n");
        tap("bgr-ac1c0003", "8\n");
        tap("bgr-xyz", "7\n");
        tap("tap0", "7\n");
        for name in ["bgrbr7", "bgrbr8", "eth0"] {
            fs::create_dir(at("net").join(name)).unwrap();
        }
        for (i, uuid) in
            ["BANGER-7-0000000000000001", "BANGER-70-0000000000000002", "LVM-x"].iter().enumerate()
        {
            let dm = at("block").join(format!("dm-{i}/dm"));
            fs::create_dir_all(&dm).unwrap();
            fs::write(dm.join("name"), "x\n").unwrap();
            fs::write(dm.join("uuid"), format!("{uuid}\n")).unwrap();
        }
        let found = [links(7, &at("net")).unwrap(), root_devices(7, &at("block")).unwrap()];
        let names: Vec<_> = found.concat().iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            ["tap bgr-ac1c0002", "network bgrbr7", "root device bgr-7-0000000000000001"]
        );
    }
}
