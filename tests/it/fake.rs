//! Programs in the place of QEMU and of its vsock process: what they do is up to
//! the test, and takes no time. Each is a script that runs this very binary.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use banger_core::agent::{Health, PROTOCOL, Service};

use crate::harness::{As, Sandbox};

const ROLE: &str = "BANGER_TESTS_FAKE";

/// How the guest behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guest {
    /// Its agent answers.
    Healthy,
    /// Its agent speaks a protocol of another time.
    OtherVersion,
    /// Something answers that is no agent.
    Garbage,
    /// Nobody ever answers.
    Silent,
}

const ALL: [Guest; 4] = [Guest::Healthy, Guest::OtherVersion, Guest::Garbage, Guest::Silent];

impl Sandbox {
    /// A banger whose machines are not there: they run at once.
    pub fn with_fakes(guest: Guest) -> Self {
        let mut sandbox = Self::new(As::Me);
        sandbox.install("qemu-system-x86_64", &qemu_script());
        sandbox.install("vhost-device-vsock", &script(&format!("{guest:?}")));
        sandbox
    }
}

/// A QEMU whose machines run at once, and do nothing.
pub fn qemu_script() -> String {
    script("Qemu")
}

fn script(role: &str) -> String {
    let us = std::env::current_exe().unwrap();
    format!(
        "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'QEMU emulator version 9.0'; exit; fi\n\
         {ROLE}={role} exec {} --exact fake::program --ignored -- \"$@\" >/dev/null\n",
        us.display()
    )
}

#[test]
#[ignore = "no test, but what the fake programs are"]
fn program() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let args: Vec<String> = std::env::args().collect();
    let value = |option: &str| {
        let at = args.iter().position(|arg| arg == option).unwrap();
        args[at + 1].clone()
    };
    if role == "Qemu" {
        let monitor = value("-qmp");
        return qemu(monitor.strip_prefix("unix:").unwrap().split(',').next().unwrap());
    }
    let guest = ALL.into_iter().find(|guest| format!("{guest:?}") == role).unwrap();
    vsock(guest, &value("--socket"), &value("--uds-path"));
}

/// Speaks as much QMP as it is asked.
fn qemu(monitor: &str) {
    for stream in UnixListener::bind(monitor).unwrap().incoming() {
        let mut stream = stream.unwrap();
        thread::spawn(move || -> std::io::Result<()> {
            stream.write_all(b"{\"QMP\": {}}\n")?;
            for line in BufReader::new(stream.try_clone()?).lines() {
                let line = line?;
                let quits = line.contains("\"quit\"") || line.contains("powerdown");
                stream.write_all(b"{\"return\": {\"status\": \"running\"}}\n")?;
                if quits {
                    std::process::exit(0);
                }
            }
            Ok(())
        });
    }
}

fn vsock(guest: Guest, socket: &str, uds: &str) {
    let listener = UnixListener::bind(uds).unwrap();
    let _vhost = UnixListener::bind(socket).unwrap();
    if guest != Guest::Silent {
        drop(UnixStream::connect(banger_core::agent::doorbell(uds.as_ref())));
    }
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        thread::spawn(move || answer(guest, stream));
    }
}

fn answer(guest: Guest, mut stream: UnixStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    if guest == Guest::Silent {
        return lines.read_to_end(&mut Vec::new()).map(drop);
    }
    stream.write_all(b"OK 1\n")?;
    line.clear();
    lines.read_line(&mut line)?;
    if guest == Guest::Garbage {
        return stream.write_all(b"\xff\xfe\0 this is not HTTP\r\n\r\n");
    }
    let health = Health {
        version: "0.0.1".to_owned(),
        protocol: if guest == Guest::Healthy { PROTOCOL } else { PROTOCOL + 1 },
        boot_id: "00000000-0000-0000-0000-000000000000".to_owned(),
        uptime_ms: 1,
        sshd: Service::Starting,
        opencode: Service::Absent,
    };
    let (status, body) = match line.split(' ').nth(1) {
        Some("/health") => ("200 OK", serde_json::to_string(&health)?),
        // QEMU is then told to quit.
        _ => ("500 No", "{\"error\": \"there is no guest\"}".to_owned()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
