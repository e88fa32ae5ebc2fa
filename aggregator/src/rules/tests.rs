//! The engine over a real head and a real database that can be told to fail, with a clock that is moved by hand.

mod desk;
mod firing;
mod gaps;
mod recording;
mod restart;
mod shipped;
mod silence;
mod storing;
mod timing;
