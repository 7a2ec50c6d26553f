//! `banger-helper`: what banger needs root for. See `banger_host::helper`.

use std::io::{self, BufReader, Read, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;

use banger_core::helper::Reply;
use banger_exec::Tools;
use banger_host::helper::{Caller, Server, program_folders, serve};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Facility `authpriv`, severity `notice` (syslog(3)).
const PRIORITY: u32 = 10 << 3 | 5;

/// How long a caller may say nothing: much longer than ours does.
const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// An input that ends when nothing comes for a while: nobody keeps a process of root's for nothing.
struct Patient(io::Stdin);

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let input = self.0.as_fd();
        match poll(&mut [PollFd::from_borrowed_fd(input, PollFlags::IN)], Some(&PATIENCE))? {
            0 => Ok(0),
            // Unbuffered: what is read is kept by whoever reads here.
            _ => Ok(rustix::io::read(input, buffer)?),
        }
    }
}

fn main() -> ExitCode {
    let caller = match Caller::from_sudo(|name| std::env::var(name).ok()) {
        Ok(caller) => caller,
        Err(error) => {
            // Nothing can be done about a standard error that is closed.
            let _ = writeln!(io::stderr(), "banger-helper: {error}");
            return ExitCode::from(2);
        }
    };
    let syslog = UnixDatagram::unbound().and_then(|socket| {
        socket.connect("/dev/log")?;
        // A full log must not keep devices from being released.
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    let log = |asked: &str, reply: &Reply| {
        let Ok(syslog) = &syslog else { return };
        let pid = std::process::id();
        let answer = match reply {
            Reply::Done(_) => "done".to_owned(),
            Reply::Refused(why) => format!("refused: {why}"),
            Reply::Failed(why) => format!("failed: {why}"),
        };
        let (uid, asked, answer) = (caller.uid, asked.escape_debug(), answer.escape_debug());
        let text = format!("<{PRIORITY}>banger-helper[{pid}]: uid {uid}: {asked}: {answer}");
        let _ = syslog.send(text.as_bytes());
    };
    let mut server = Server::new(caller, Tools::in_folders(program_folders()));
    let input = BufReader::new(Patient(io::stdin()));
    match serve(&mut server, input, io::stdout().lock(), log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "banger-helper: {error}");
            ExitCode::FAILURE
        }
    }
}
