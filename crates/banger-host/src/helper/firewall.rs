//! What the kernel does with the packets of guests: one table of nftables a user (nft(8)), and
//! where Docker drops what it does not know, two rules in the chain that it leaves to others.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use banger_core::net::{bridge, table};
use banger_exec::{Command, ExecError, Runner, Tool};
use ipnet::Ipv4Net;
use serde_json::Value;

use super::HelperError;

/// Where clouds answer their machines, credentials among the answers. Not a guest's business.
const METADATA: &str = "169.254.0.0/16, 100.100.100.200";
/// Azure's, which is its name server too.
const AZURE: &str = "ip daddr 168.63.129.16 tcp dport { 80, 32526 }";
/// How long `nft` may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Docker's chain for the rules of others (Docker's documentation, "Packet filtering and
/// firewalls").
const DOCKER: &str = "ip filter DOCKER-USER";

/// What guests may do.
#[derive(Debug, Clone)]
pub struct Policy<'a> {
    pub uid: u32,
    pub subnet: Ipv4Net,
    pub dns: &'a [Ipv4Addr],
    pub host_ports: &'a [u16],
}

/// Loads a user's rules in the place of those that are there, in one transaction.
pub fn load(runner: &dyn Runner, policy: &Policy<'_>) -> Result<(), HelperError> {
    let docker = docker_rules(runner, policy.uid)?;
    nft(runner, &ruleset(policy, docker.as_deref()))
}

/// Removes a user's rules. Fine if there are none.
pub fn unload(runner: &dyn Runner, uid: u32) -> Result<(), HelperError> {
    let docker = docker_rules(runner, uid)?;
    nft(runner, &(remove_table(uid) + &remove_docker(docker.as_deref().unwrap_or_default())))
}

/// What of the host's packet filter drops what it forwards: what another table accepts is dropped
/// all the same. Docker's own is not meant, which has a chain for the rules of others.
///
/// # Errors
/// Why there can be no rules here.
pub fn drops(runner: &dyn Runner) -> Result<Vec<String>, String> {
    let list = Command::new(Tool::Nft).args(["--json", "list", "chains"]).timeout(LIMIT);
    let listed = runner.capture(&list).map_err(|error| error.to_string())?.stdout;
    let listed: Value = serde_json::from_slice(&listed).map_err(|error| error.to_string())?;
    let chains = listed["nftables"].as_array().into_iter().flatten().map(|entry| &entry["chain"]);
    let name = |chain: &Value| {
        ["family", "table", "name"].map(|key| chain[key].as_str().unwrap_or_default()).join(" ")
    };
    let docker = chains.clone().any(|chain| name(chain) == DOCKER);
    let dropping = chains.filter(|chain| {
        let drops = chain["hook"] == "forward" && chain["policy"] == "drop";
        // firewalld refuses with its last rule.
        let refuses = chain["hook"] == "forward" && chain["table"] == "firewalld";
        (drops && !(docker && name(chain) == "ip filter FORWARD")) || refuses
    });
    Ok(dropping.map(name).collect())
}

fn nft(runner: &dyn Runner, rules: &str) -> Result<(), HelperError> {
    runner.capture(&Command::new(Tool::Nft).args(["-f", "-"]).stdin(rules).timeout(LIMIT))?;
    Ok(())
}

/// The handles of a user's rules in Docker's chain; nothing where there is no such chain.
fn docker_rules(runner: &dyn Runner, uid: u32) -> Result<Option<Vec<u64>>, HelperError> {
    let list = Command::new(Tool::Nft)
        .args(["--json", "--handle", "list", "chain"])
        .args(DOCKER.split(' '))
        .timeout(LIMIT);
    let listed = match runner.capture(&list) {
        Ok(listed) => listed.stdout,
        Err(ExecError::Failed { stderr, .. }) if stderr.contains("No such file") => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let nonsense = |error: serde_json::Error| HelperError::Refused(format!("nft's list: {error}"));
    let listed: Value = serde_json::from_slice(&listed).map_err(nonsense)?;
    let rules = listed["nftables"].as_array().into_iter().flatten();
    let own = rules.filter_map(|entry| {
        let rule = &entry["rule"];
        (rule["comment"] == table(uid)).then(|| rule["handle"].as_u64()).flatten()
    });
    Ok(Some(own.collect()))
}

fn remove_table(uid: u32) -> String {
    let table = table(uid);
    // One that is not there is made first: nothing else removes what may not be there.
    format!("table inet {table}\ndelete table inet {table}\n")
}

fn remove_docker(handles: &[u64]) -> String {
    handles.iter().fold(String::new(), |mut text, handle| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "delete rule {DOCKER} handle {handle}");
        text
    })
}

/// A user's rules in nft's language; `docker` has the handles of earlier ones in Docker's chain.
fn ruleset(policy: &Policy<'_>, docker: Option<&[u64]>) -> String {
    let Policy { uid, subnet, dns, host_ports } = policy;
    let (bridge, table) = (bridge(*uid), table(*uid));
    let (mut open, mut servers, mut published) = (String::new(), String::new(), String::new());
    if !dns.is_empty() {
        // Writing to a String cannot fail.
        let _ = writeln!(
            servers,
            "        ip daddr {{ {} }} meta l4proto {{ tcp, udp }} th dport 53 accept",
            list(dns)
        );
    }
    if !host_ports.is_empty() {
        let ports = list(host_ports);
        let _ = writeln!(open, "        tcp dport {{ {ports} }} accept");
        let _ = writeln!(
            published,
            "        ct status dnat meta l4proto tcp ct original proto-dst {{ {ports} }} accept"
        );
    }
    let docker = docker.map_or_else(String::new, |handles| {
        let comment = format!("counter accept comment \"{table}\"");
        format!(
            "{}insert rule {DOCKER} iifname \"{bridge}\" {comment}\n\
             insert rule {DOCKER} oifname \"{bridge}\" {comment}\n",
            remove_docker(handles)
        )
    });
    // `from_guests`: to the host itself. `outbound`: to others, among them the host's containers, and
    // ports that are the host's until it sends them on. `inbound`: to guests, from others than the
    // host. Guests have no IPv6 addresses.
    format!(
        "{remove}\
table inet {table} {{
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname \"{bridge}\" jump from_guests
    }}
    chain from_guests {{
        meta nfproto ipv6 drop
        ct state established,related accept
        ip saddr != {subnet} drop
        icmp type echo-request accept
{servers}{open}        drop
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname \"{bridge}\" jump outbound
        oifname \"{bridge}\" jump inbound
    }}
    chain outbound {{
        meta nfproto ipv6 drop
        oifname \"{bridge}\" drop
        ip saddr != {subnet} drop
{published}        ct status dnat drop
        oifname \"docker0\" drop
        oifname \"br-*\" drop
{servers}        ip daddr {{ {METADATA} }} drop
        {AZURE} drop
    }}
    chain inbound {{
        meta nfproto ipv6 drop
        ct state established,related accept
        drop
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {subnet} oifname != \"{bridge}\" masquerade
    }}
}}
{docker}",
        remove = remove_table(*uid),
    )
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_one_transaction() {
        let policy = Policy {
            uid: 1000,
            subnet: "172.28.5.0/24".parse().unwrap(),
            dns: &[Ipv4Addr::new(192, 168, 1, 1)],
            host_ports: &[5432, 80],
        };
        insta::assert_snapshot!(ruleset(&policy, Some(&[7])), @r#"
        table inet banger_1000
        delete table inet banger_1000
        table inet banger_1000 {
            chain input {
                type filter hook input priority filter; policy accept;
                iifname "bgrbr1000" jump from_guests
            }
            chain from_guests {
                meta nfproto ipv6 drop
                ct state established,related accept
                ip saddr != 172.28.5.0/24 drop
                icmp type echo-request accept
                ip daddr { 192.168.1.1 } meta l4proto { tcp, udp } th dport 53 accept
                tcp dport { 5432, 80 } accept
                drop
            }
            chain forward {
                type filter hook forward priority filter; policy accept;
                iifname "bgrbr1000" jump outbound
                oifname "bgrbr1000" jump inbound
            }
            chain outbound {
                meta nfproto ipv6 drop
                oifname "bgrbr1000" drop
                ip saddr != 172.28.5.0/24 drop
                ct status dnat meta l4proto tcp ct original proto-dst { 5432, 80 } accept
                ct status dnat drop
                oifname "docker0" drop
                oifname "br-*" drop
                ip daddr { 192.168.1.1 } meta l4proto { tcp, udp } th dport 53 accept
                ip daddr { 169.254.0.0/16, 100.100.100.200 } drop
                ip daddr 168.63.129.16 tcp dport { 80, 32526 } drop
            }
            chain inbound {
                meta nfproto ipv6 drop
                ct state established,related accept
                drop
            }
            chain postrouting {
                type nat hook postrouting priority srcnat; policy accept;
                ip saddr 172.28.5.0/24 oifname != "bgrbr1000" masquerade
            }
        }
        delete rule ip filter DOCKER-USER handle 7
        insert rule ip filter DOCKER-USER iifname "bgrbr1000" counter accept comment "banger_1000"
        insert rule ip filter DOCKER-USER oifname "bgrbr1000" counter accept comment "banger_1000"
        "#);
        let closed = Policy { dns: &[], host_ports: &[], ..policy };
        let closed = ruleset(&closed, None);
        assert!(!closed.contains("dport 53") && !closed.contains("DOCKER"), "{closed}");
    }
}
