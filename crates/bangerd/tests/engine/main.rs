//! The engine on a host that can be killed and can fail.

mod clients;
mod crash;
mod data;
mod faults;
mod scene;
