//! The pure heart of banger: no I/O, no async, no clock.
//!
//! Everything here is data and functions of data, so that every other crate
//! and every test can use it without touching the host.
#![forbid(unsafe_code)]

pub mod agent;
pub mod api;
pub mod bootargs;
pub mod config;
pub mod console;
pub mod dashboard;
pub mod dirs;
pub mod doctor;
pub mod duration;
pub mod fold;
pub mod guest;
pub mod helper;
pub mod id;
pub mod image;
pub mod lists;

pub mod name;
pub mod net;
pub mod operation;
pub mod policy;
pub mod resource;
pub mod size;
pub mod sockets;
pub mod ssh;
pub mod tail;
pub mod vm;
pub mod web;
