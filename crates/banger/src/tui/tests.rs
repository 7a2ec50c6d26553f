//! The screens, as text.

mod acts;
mod monkey;
mod scene;
mod screens;
mod svg;
