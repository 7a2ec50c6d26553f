//! The network `nat`: one for all VMs of this daemon, there while one of them runs with it.

use std::net::Ipv4Addr;
use std::path::Path;

use banger_core::bootargs::StaticIp;
use banger_core::guest::GuestNetwork;
use banger_core::net::{Lease, bridge, choose_subnet, conflict, free, gateway, is_guests, tap};
use banger_core::operation::EventKind;
use banger_core::resource::ResourceSpec;
use banger_core::vm::{Network, Vm};
use banger_exec::Cancel;
use banger_host::{link_exists, name_servers, routes};
use ipnet::Ipv4Net;
use rustix::process::geteuid;

use crate::engine::Engine;
use crate::engine::oplog::OpLog;
use crate::engine::resources::Intended;
use crate::engine::vm::VmCtx;
use crate::error::OpError;
use crate::store::journal::{self, Scope};
use crate::store::{StoreError, vms};

/// What holds it in the journal.
pub(crate) const OWNER: &str = "network";

/// How long the prefix of a subnet is that nobody has configured.
const PREFIX: u8 = 24;

impl Engine {
    /// The subnet: the configured one, else that of the VMs that have an address, else a new one.
    fn subnet(&self) -> Result<Ipv4Net, OpError> {
        if let Some(subnet) = self.config.subnet {
            return Ok(subnet);
        }
        let uid = geteuid().as_raw();
        let routes = routes(Path::new("/proc")).map_err(OpError::file("read the routes"))?;
        let others: Vec<_> = routes
            .into_iter()
            .filter(|route| route.device != bridge(uid))
            .map(|route| route.to)
            .collect();
        // Those that run decide: they cannot move.
        let (running, resting): (Vec<_>, Vec<_>) =
            self.vms().into_iter().partition(|vm| vm.state.is_active());
        let leased = running.iter().chain(&resting).filter_map(|vm| vm.lease.as_ref());
        leased
            .filter_map(|lease| Ipv4Net::new(lease.address, PREFIX).ok())
            .map(|net| net.trunc())
            .find(|subnet| conflict(*subnet, &others).is_none())
            .or_else(|| choose_subnet(uid, &others))
            .ok_or(OpError::NoSubnet)
    }

    fn name_servers(&self) -> Vec<Ipv4Addr> {
        self.config.dns.clone().unwrap_or_else(|| name_servers(Path::new("/")))
    }

    /// Makes the network, or brings it up to date: somebody may have emptied the packet filter.
    ///
    /// # Errors
    /// The host's or the database's.
    pub(crate) async fn network_up(&self, subnet: Ipv4Net, cancel: &Cancel) -> Result<(), OpError> {
        let _alone = self.0.network.lock().await;
        let spec = ResourceSpec::Network {
            uid: geteuid().as_raw(),
            subnet,
            dns: self.name_servers(),
            host_ports: self.config.host_ports.clone(),
        };
        let held = self.store.read(|db| journal::held(db, OWNER, false)).await?.pop();
        match held {
            None => self.acquire(OWNER, Scope::Life, spec, cancel).await?,
            Some(held) => {
                let (row, new) = (held.id, spec.clone());
                if held.spec != spec {
                    self.store.run(move |db| journal::respecify(db, row, &new, None)).await?;
                }
                self.ensure(Intended { row, spec }, cancel).await?
            }
        };
        Ok(())
    }

    /// Removes the network if no tap is left. What fails is logged, and tried again when the next
    /// tap goes, or by the next daemon.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn network_idle(&self) -> Result<(), StoreError> {
        let _alone = self.0.network.lock().await;
        if !self.store.read(|db| journal::has_taps(db)).await? {
            self.release_held(OWNER, false).await?;
        }
        Ok(())
    }
}

impl VmCtx {
    /// Gives the VM an address of the network `nat`, if it is to have one and has none that fits.
    /// Returns the subnet of it.
    ///
    /// # Errors
    /// There is none left, or no subnet.
    pub(crate) async fn take_lease(&self, log: &OpLog) -> Result<Option<Ipv4Net>, OpError> {
        let vm = self.vm();
        if vm.spec.network != Network::Nat {
            return Ok(None);
        }
        let _alone = self.engine.0.network.lock().await;
        let subnet = self.engine.subnet()?;
        if vm.lease.is_some_and(|lease| is_guests(subnet, lease.address)) {
            return Ok(Some(subnet));
        }
        // By their rows: a VM that an image is built in has one, and no task.
        let rows = self.engine.store.read(|db| vms::list(db)).await?;
        let leases = rows.into_iter().filter_map(|row| row.vm.lease);
        let leased: Vec<_> = leases.map(|lease| lease.address).collect();
        // Another daemon of this user, with a state of its own, may have given it away.
        let taken = |address| leased.contains(&address) || link_exists(&tap(address));
        let address = free(subnet, taken).ok_or(OpError::NoAddress(subnet))?;
        self.change(Some(log), |vm| {
            vm.lease = Some(Lease::of(address));
            Ok(())
        })
        .await?;
        Ok(Some(subnet))
    }

    /// What the guest is told of its network.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn guest_network(
        &self,
        log: &OpLog,
        vm: &Vm,
        subnet: Option<Ipv4Net>,
    ) -> Result<Option<GuestNetwork>, OpError> {
        let (lease, subnet) = match (&vm.lease, subnet) {
            (Some(lease), Some(subnet)) => (lease, subnet),
            _ => return Ok((vm.spec.network == Network::User).then(GuestNetwork::user)),
        };
        let dns = self.engine.name_servers();
        if dns.is_empty() {
            let message = "this host has no name server that guests can reach: they will find no \
                names (set 'dns' in the configuration)";
            log.append(EventKind::Warning { message: message.to_owned() }).await?;
        }
        let (address, prefix) = (lease.address, subnet.prefix_len());
        Ok(Some(GuestNetwork { ip: StaticIp { address, gateway: gateway(subnet), prefix }, dns }))
    }
}
