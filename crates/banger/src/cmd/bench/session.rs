//! The VMs of a measurement: named so that they can be told, and deleted
//! whatever comes.

use banger_core::api::{CreateVm, StartVm};
use banger_core::vm::{MIN_DISK, Network, Vm, WaitFor};
use banger_wire::{Client, Method};
use tokio::task::JoinSet;

use super::timed::Timed;
use crate::error::CommandError;
use crate::signals::End;
use crate::{daemon, output};

/// How many operations there are at a time where many are wanted.
const AT_A_TIME: usize = 8;

/// A client, and what this measurement calls its VMs.
pub struct Session {
    pub client: Client,
    prefix: String,
    image: Option<String>,
    network: Option<Network>,
}

impl Session {
    /// Runs a measurement to its end, or until it is told to end; then deletes
    /// its VMs, which have the default network if none is named.
    pub async fn run<T>(
        image: Option<String>,
        network: Option<Network>,
        measure: impl AsyncFnOnce(&Self) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        let mut end = End::catch()?;
        let client = daemon::connect().await?;
        let prefix = format!("bench-{}-", std::process::id());
        let session = Self { client, prefix, image, network };
        let result = tokio::select! {
            result = measure(&session) => result,
            () = end.told() => {
                output::note("ending; the VMs are being deleted");
                Err(CommandError::new("cancelled; nothing is left of it").code(130))
            }
        };
        let cleaned = tokio::select! {
            cleaned = session.clean() => cleaned,
            () = end.told() => Err(CommandError::new("left; VMs named bench-… may be there").code(130)),
        };
        let value = result?;
        cleaned?;
        Ok(value)
    }

    async fn clean(&self) -> Result<(), CommandError> {
        let vms: Vec<Vm> = self.client.get("/v1/vms").await?;
        let ours = vms.into_iter().filter(|vm| vm.name.as_str().starts_with(&self.prefix));
        let path = |vm: Vm| format!("/v1/vms/{}", vm.id);
        self.all(Method::DELETE, ours.map(|vm| (path(vm), None)).collect()).await
    }

    /// Makes VMs that are never started, with the least of a work disk.
    pub async fn fill(&self, numbers: std::ops::Range<usize>) -> Result<(), CommandError> {
        let requests = numbers.map(|i| {
            let body = CreateVm { disk: Some(MIN_DISK), ..self.request(&i.to_string(), None)? };
            Ok(("/v1/vms".to_owned(), Some(body)))
        });
        self.all(Method::POST, requests.collect::<Result<_, CommandError>>()?).await
    }

    /// Many operations, a few at a time.
    async fn all(
        &self,
        method: Method,
        requests: Vec<(String, Option<CreateVm>)>,
    ) -> Result<(), CommandError> {
        let mut under_way = JoinSet::new();
        let mut requests = requests.into_iter();
        loop {
            while under_way.len() < AT_A_TIME {
                let Some((path, body)) = requests.next() else { break };
                let (client, method) = (self.client.clone(), method.clone());
                under_way.spawn(async move {
                    Timed::run(&client, (method, &path), body.as_ref()).await.map(drop)
                });
            }
            match under_way.join_next().await {
                Some(done) => done.map_err(|error| CommandError::new(error.to_string()))??,
                None => return Ok(()),
            }
        }
    }

    /// Makes a VM; it is left stopped unless it is to be started.
    pub async fn create(&self, name: &str, start: Option<WaitFor>) -> Result<Timed, CommandError> {
        let request = self.request(name, start)?;
        Timed::run(&self.client, (Method::POST, "/v1/vms"), Some(&request)).await
    }

    fn request(&self, name: &str, start: Option<WaitFor>) -> Result<CreateVm, CommandError> {
        let name = format!("{}{name}", self.prefix);
        let name = name.parse().map_err(|e| CommandError::new(format!("{name}: {e}")))?;
        let (image, opencode, network) = (self.image.clone(), Some(false), self.network);
        Ok(CreateVm { name: Some(name), image, opencode, network, start, ..CreateVm::default() })
    }

    /// Starts a VM until SSH answers.
    pub async fn start(&self, vm: &Vm) -> Result<Timed, CommandError> {
        let path = format!("/v1/vms/{}/start", vm.id);
        let body = StartVm { wait: WaitFor::Ssh };
        Timed::run(&self.client, (Method::POST, &path), Some(&body)).await
    }

    /// Ends its VMM.
    pub async fn kill(&self, vm: &Vm) -> Result<Timed, CommandError> {
        let path = format!("/v1/vms/{}/kill", vm.id);
        Timed::run::<()>(&self.client, (Method::POST, &path), None).await
    }

    /// Deletes it.
    pub async fn delete(&self, vm: &Vm) -> Result<Timed, CommandError> {
        let path = format!("/v1/vms/{}", vm.id);
        Timed::run::<()>(&self.client, (Method::DELETE, &path), None).await
    }
}
