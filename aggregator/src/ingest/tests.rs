//! The agents' streams over a real socket, into a real database that can be told to fail.

mod acks;
mod connections;
pub(crate) mod fixture;
mod house;
mod refusals;
mod streams;
mod wire;
mod writer;
