//! The agents' streams over a real socket, into a real database that can be told to fail.

mod acks;
mod connections;
mod conservation;
pub(crate) mod fixture;
mod house;
mod identity;
mod refusals;
mod streams;
mod wire;
mod writer;
