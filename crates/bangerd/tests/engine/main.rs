//! The engine on a host that can be killed and can fail.

mod crash;
mod faults;
mod scene;
