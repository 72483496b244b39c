//! What the tests stand on: a world of one gateway, its WeChat, its application, browsers and phones.
//!
//! Everything listens on a port of its own, so that tests run side by side; time is moved by [`World::advance`], never
//! waited for. Every answer of the gateway and every request that the application got is held against the rules that
//! bind all of them ([`invariants`]).

pub mod answer;
pub mod assertion;
pub mod browser;
pub mod invariants;
pub mod mini_program;
pub mod phone;
pub mod picture;
pub mod postgres;
pub mod process;
pub mod upstream;
pub mod wire;
pub mod world;

pub use answer::Answer;
pub use browser::Browser;
pub use world::World;
