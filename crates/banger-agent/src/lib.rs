//! The companion binary in the guest: small, static, synchronous.
//!
//! As `/init` of an initramfs it brings the root up and hands over ([`init`]);
//! as a service it answers the host over vsock ([`server`], by the protocol of
//! [`banger_core::agent`]).

pub mod guest;
pub mod http;
pub mod init;
pub mod limits;
pub mod overlay;
pub mod ports;
pub mod server;
pub mod stream;
mod timer;
pub mod transport;

use std::error::Error;
use std::fmt::Write as _;

/// An error and what caused it, on one line.
#[must_use]
pub fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
